// The rational-quadratic spline (server/flow/rational_quadratic_spline.h defines it). Included once per SIMD target.

#if defined(DENSITYD_ENGINE_CPU_SPLINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_CPU_SPLINE_INL_H_
#undef DENSITYD_ENGINE_CPU_SPLINE_INL_H_
#else
#define DENSITYD_ENGINE_CPU_SPLINE_INL_H_
#endif

#include "hwy/highway.h"
#include "server/engine/cpu/math-inl.h"
#include "server/engine/cpu/program.h"
#include "server/engine/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

/// Sizes of the bins along one axis, and the knots between them.
template <size_t kCapacity>
struct SplineAxis {
  FloatVector size[kCapacity];
  FloatVector knot[kCapacity];  ///< left end of bin k

  /// Sizes are `smallest` + (2 B - K `smallest`) softmax(raw). Knots are summed from both ends, as the definition does.
  template <class Theta>
  HWY_INLINE SplineAxis(const Theta& raw, size_t bins, float bound, float smallest) {
    const FloatTag d;
    FloatVector most = raw[0];
#pragma GCC unroll 8
    for (size_t k = 1; k < bins; ++k) most = hn::Max(most, raw[k]);
    FloatVector sum = hn::Zero(d);
#pragma GCC unroll 8
    for (size_t k = 0; k < bins; ++k) {
      size[k] = ExpOfNegative(d, hn::Sub(raw[k], most));
      sum = hn::Add(sum, size[k]);
    }
    const FloatVector scale = hn::Div(hn::Set(d, 2 * bound - static_cast<float>(bins) * smallest), sum);
#pragma GCC unroll 8
    for (size_t k = 0; k < bins; ++k) size[k] = hn::MulAdd(size[k], scale, hn::Set(d, smallest));
    const size_t middle = bins / 2;
    knot[0] = hn::Set(d, -bound);
#pragma GCC unroll 8
    for (size_t k = 1; k <= middle; ++k) knot[k] = hn::Add(knot[k - 1], size[k - 1]);
    FloatVector right = hn::Set(d, bound);
#pragma GCC unroll 8
    for (size_t k = bins - 1; k > middle; --k) knot[k] = right = hn::Sub(right, size[k]);
  }
};

/// A number's bin: its lower left corner, its size, and the slopes at its two knots.
struct SplineBin {
  FloatVector x;
  FloatVector z;
  FloatVector width;
  FloatVector height;
  FloatVector left_slope;
  FloatVector right_slope;
};

/// The slope at a knot.
HWY_INLINE FloatVector SplineSlope(const SplineForm& form, FloatVector raw) {
  const FloatTag d;
  const FloatVector x = hn::Add(raw, hn::Set(d, form.slope_offset));
  const FloatVector rest = Log1pOfUnit(d, ExpOfNegative(d, hn::Neg(hn::Abs(x))));
  const FloatVector positive = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
  return hn::Add(hn::Add(positive, hn::Set(d, form.min_slope)), rest);
}

/// The bin of `number`, by the knots in z where `kForward`, else by those in x.
template <bool kForward, size_t kCapacity, class Theta>
HWY_INLINE SplineBin FindSplineBin(FloatVector number, const Theta& theta, size_t bins, const SplineForm& form) {
  const FloatTag d;
  const SplineAxis<kCapacity> x(theta, bins, form.bound, form.min_width);
  const SplineAxis<kCapacity> z(theta.From(bins), bins, form.bound, form.min_height);
  const Theta slopes = theta.From(2 * bins);
  // Zero makes slope 1, which is that of both ends.
  SplineBin bin = {x.knot[0], z.knot[0], x.size[0], z.size[0], hn::Zero(d), slopes[0]};
#pragma GCC unroll 8
  for (size_t k = 1; k < bins; ++k) {
    const auto reached = hn::Ge(number, kForward ? z.knot[k] : x.knot[k]);
    bin.x = hn::IfThenElse(reached, x.knot[k], bin.x);
    bin.z = hn::IfThenElse(reached, z.knot[k], bin.z);
    bin.width = hn::IfThenElse(reached, x.size[k], bin.width);
    bin.height = hn::IfThenElse(reached, z.size[k], bin.height);
    bin.left_slope = hn::IfThenElse(reached, slopes[k - 1], bin.left_slope);
    bin.right_slope = hn::IfThenElse(reached, k + 1 < bins ? slopes[k] : hn::Zero(d), bin.right_slope);
  }
  bin.left_slope = SplineSlope(form, bin.left_slope);
  bin.right_slope = SplineSlope(form, bin.right_slope);
  return bin;
}

/// What both directions need at the share t of a bin's width.
struct SplinePoint {
  FloatVector t;
  FloatVector chord;    ///< slope of the bin's chord, s
  FloatVector bend;     ///< sum of the slopes at both knots - 2 s
  FloatVector product;  ///< t (1 - t)
  FloatVector square;   ///< t^2

  HWY_INLINE void MoveTo(FloatVector share) {
    const FloatTag d;
    const FloatVector one = hn::Set(d, 1.0f);
    t = hn::Min(one, hn::Max(hn::Zero(d), share));
    product = hn::Mul(t, hn::Sub(one, t));
    square = hn::Mul(t, t);
  }
  /// Equation 4's denominator over s.
  HWY_INLINE FloatVector Denominator() const { return hn::MulAdd(bend, product, chord); }
  /// Equation 4's numerator over the height.
  HWY_INLINE FloatVector Numerator(const SplineBin& bin) const {
    return hn::MulAdd(chord, square, hn::Mul(bin.left_slope, product));
  }
  /// Equation 5's numerator over s^2.
  HWY_INLINE FloatVector SlopeNumerator(const SplineBin& bin) const {
    const FloatVector rest = hn::Sub(hn::Set(FloatTag(), 1.0f), t);
    const FloatVector left = hn::MulAdd(bin.left_slope, hn::Mul(rest, rest), hn::Mul(hn::Add(chord, chord), product));
    return hn::MulAdd(bin.right_slope, square, left);
  }
  /// log dz/dx (equation 5); `share` is s over the denominator.
  HWY_INLINE FloatVector LogSlope(const SplineBin& bin, FloatVector share) const {
    return Log(FloatTag(), hn::Mul(share, hn::Mul(share, SlopeNumerator(bin))));
  }
};

/// x -> z.
HWY_INLINE MapResult InverseSpline(FloatVector x, const SplineBin& bin) {
  SplinePoint point;
  point.chord = hn::Div(bin.height, bin.width);
  point.bend = hn::Sub(hn::Add(bin.left_slope, bin.right_slope), hn::Add(point.chord, point.chord));
  point.MoveTo(hn::Div(hn::Sub(x, bin.x), bin.width));
  const FloatVector reciprocal = hn::Div(hn::Set(FloatTag(), 1.0f), point.Denominator());
  const FloatVector rise = hn::Mul(hn::Mul(bin.height, point.Numerator(bin)), reciprocal);
  return {hn::Add(bin.z, rise), point.LogSlope(bin, hn::Mul(point.chord, reciprocal))};
}

/// z -> x: t is the root of a t^2 + b t + c (equations 6 to 8), in the form without cancellation.
HWY_INLINE MapResult ForwardSpline(FloatVector z, const SplineBin& bin) {
  const FloatTag d;
  SplinePoint point;
  point.chord = hn::Div(bin.height, bin.width);
  point.bend = hn::Sub(hn::Add(bin.left_slope, bin.right_slope), hn::Add(point.chord, point.chord));
  const FloatVector rise = hn::Max(hn::Zero(d), hn::Sub(z, bin.z));
  const FloatVector bend = hn::Mul(rise, point.bend);
  const FloatVector a = hn::MulAdd(bin.height, hn::Sub(point.chord, bin.left_slope), bend);
  const FloatVector b = hn::MulSub(bin.height, bin.left_slope, bend);
  const FloatVector minus_c = hn::Mul(point.chord, rise);
  const FloatVector discriminant = hn::MulAdd(hn::Mul(hn::Set(d, 4.0f), a), minus_c, hn::Mul(b, b));
  const FloatVector root = hn::Sqrt(hn::Max(hn::Zero(d), discriminant));
  point.MoveTo(hn::Div(hn::Add(minus_c, minus_c), hn::Add(b, root)));
  const FloatVector log = point.LogSlope(bin, hn::Div(point.chord, point.Denominator()));
  return {hn::MulAdd(point.t, bin.width, bin.x), hn::Neg(log)};
}

/// A spline of `bins` bins, the identity outside its interval. kBins: `bins` where that is known, or 0.
template <bool kForward, size_t kBins, class Theta>
HWY_NOINLINE MapResult Spline(FloatVector number, Theta theta, size_t bins, const SplineForm& form) {
  const FloatTag d;
  constexpr size_t kCapacity = kBins != 0 ? kBins : kMaxSplineBins;
  const SplineBin bin = FindSplineBin<kForward, kCapacity>(number, theta, kBins != 0 ? kBins : bins, form);
  const MapResult inside = kForward ? ForwardSpline(number, bin) : InverseSpline(number, bin);
  const auto is_inside = hn::Le(hn::Abs(number), hn::Set(d, form.bound));
  return {hn::IfThenElse(is_inside, inside.value, number), hn::IfThenElseZero(is_inside, inside.log)};
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_SPLINE_INL_H_
