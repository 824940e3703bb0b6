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

// The interval's two halves are mirror images: a number in the upper half, its bins, slopes and result all change their
// sign or order. So every number is looked up among the bins of one half, counted from the nearer end.

/// a / (1 + |a| / c), given 1 / c.
HWY_INLINE FloatVector SoftClip(FloatVector a, float per_clip) {
  const FloatTag d;
  return hn::Div(a, hn::MulAdd(hn::Abs(a), hn::Set(d, per_clip), hn::Set(d, 1.0f)));
}

/// A running sum. Where kCarries, what rounding cuts off is added to the next number (Kahan): many bins need it.
template <bool kCarries>
struct RunningSum {
  FloatVector sum;
  FloatVector carry = hn::Zero(FloatTag());

  HWY_INLINE void Add(FloatVector number) {
    if constexpr (kCarries) {
      const FloatVector whole = hn::Add(number, carry);
      const FloatVector next = hn::Add(sum, whole);
      carry = hn::Sub(whole, hn::Sub(next, sum));
      sum = next;
    } else {
      sum = hn::Add(sum, number);
    }
  }
};

/// Powers of two along one axis, to which its bins are proportional.
template <size_t kCapacity, bool kSoftClip>
struct SplineAxis {
  FloatVector power[kCapacity];
  FloatVector scale;   ///< size of bin k is `smallest` + scale power[k]
  FloatVector middle;  ///< knot K / 2

  SplineAxis() = default;
  /// Sizes are `smallest` + (2 B - K `smallest`) softmax(raw log 2).
  template <class Theta>
  HWY_INLINE SplineAxis(const Theta& raw, size_t bins, const SplineForm& form, float smallest) {
    const FloatTag d;
    if constexpr (kSoftClip) {
#pragma GCC unroll 8
      for (size_t k = 0; k < bins; ++k) power[k] = Exp2OfBounded(d, SoftClip(raw[k], form.per_size_clip));
    } else {
      RaisePowers(raw, bins);
    }
    RunningSum<(kCapacity > 8)> lower{power[0]};
#pragma GCC unroll 8
    for (size_t k = 1; k < bins / 2; ++k) lower.Add(power[k]);
    RunningSum<(kCapacity > 8)> upper{power[bins - 1]};
#pragma GCC unroll 8
    for (size_t k = bins - 2; k >= bins / 2; --k) upper.Add(power[k]);
    scale = hn::Div(hn::Set(d, 2 * form.bound - static_cast<float>(bins) * smallest), hn::Add(lower.sum, upper.sum));
    const size_t lower_bins = bins / 2;
    middle = hn::MulAdd(lower.sum, scale, hn::Set(d, static_cast<float>(lower_bins) * smallest - form.bound));
  }

  /// Powers whose largest is 1.
  template <class Theta>
  HWY_INLINE void RaisePowers(const Theta& raw, size_t bins) {
    const FloatTag d;
    FloatVector most = raw[bins - 1];
    FloatVector lower_most = raw[0];
#pragma GCC unroll 8
    for (size_t k = 1; k < bins / 2; ++k) lower_most = hn::Max(lower_most, raw[k]);
#pragma GCC unroll 8
    for (size_t k = bins - 2; k >= bins / 2; --k) most = hn::Max(most, raw[k]);
    most = hn::Max(most, lower_most);
#pragma GCC unroll 8
    for (size_t k = 0; k < bins; ++k) power[k] = Exp2OfNegative(d, hn::Sub(raw[k], most));
  }
};

/// A number's bin. In the upper half number, x and z have the opposite sign, and "near" is right.
struct SplineBin {
  FloatVector number;
  FloatVector x;  ///< the bin's knot that is nearer to the end
  FloatVector z;
  FloatVector width;
  FloatVector height;
  FloatVector near_slope;  ///< at the two knots; FindSplineBin leaves the raw parameters
  FloatVector far_slope;
  hn::Mask<FloatTag> is_upper;
};

/// The slope at a knot.
template <bool kSoftClip>
HWY_INLINE FloatVector SplineSlope(const SplineForm& form, FloatVector raw) {
  const FloatTag d;
  if constexpr (kSoftClip) return Exp2OfBounded(d, SoftClip(raw, form.per_slope_clip));
  const FloatVector x = hn::Add(raw, hn::Set(d, form.slope_offset));
  const FloatVector rest = Log1pOfUnit(d, ExpOfNegative(d, hn::Neg(hn::Abs(x))));
  const FloatVector positive = hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
  return hn::Add(hn::Add(positive, hn::Set(d, form.min_slope)), rest);
}

/// The bin of `number`, by the knots in z where `kForward`, else by those in x.
template <bool kForward, size_t kCapacity, bool kSoftClip, class Theta>
HWY_INLINE SplineBin FindSplineBin(FloatVector number, const SplineAxis<kCapacity, kSoftClip>& x,
                                   const SplineAxis<kCapacity, kSoftClip>& z, const Theta& slopes, size_t bins,
                                   const SplineForm& form) {
  const FloatTag d;
  SplineBin bin;
  bin.is_upper = hn::Ge(number, kForward ? z.middle : x.middle);
  bin.number = hn::IfThenElse(bin.is_upper, hn::Neg(number), number);
  const auto nearer = [&bin](FloatVector left, FloatVector right) { return hn::IfThenElse(bin.is_upper, right, left); };
  const auto size = [&](const auto& axis, size_t k, float smallest) {
    return hn::MulAdd(nearer(axis.power[k], axis.power[bins - 1 - k]), axis.scale, hn::Set(d, smallest));
  };
  bin.x = bin.z = hn::Set(d, -form.bound);
  bin.near_slope = hn::Zero(d);  // makes slope 1
  bin.width = size(x, 0, form.min_width);
  bin.height = size(z, 0, form.min_height);
  bin.far_slope = nearer(slopes[0], slopes[bins - 2]);
  RunningSum<(kCapacity > 8)> next_x{bin.x};
  RunningSum<(kCapacity > 8)> next_z{bin.z};
  next_x.Add(bin.width);
  next_z.Add(bin.height);
  FloatVector slope = bin.far_slope;
#pragma GCC unroll 4
  for (size_t k = 1; k < (bins + 1) / 2; ++k) {
    const auto reached = hn::Ge(bin.number, kForward ? next_z.sum : next_x.sum);
    const FloatVector width = size(x, k, form.min_width);
    const FloatVector height = size(z, k, form.min_height);
    bin.x = hn::IfThenElse(reached, next_x.sum, bin.x);
    bin.z = hn::IfThenElse(reached, next_z.sum, bin.z);
    bin.width = hn::IfThenElse(reached, width, bin.width);
    bin.height = hn::IfThenElse(reached, height, bin.height);
    bin.near_slope = hn::IfThenElse(reached, slope, bin.near_slope);
    slope = 2 * k + 2 == bins ? slopes[k] : nearer(slopes[k], slopes[bins - 2 - k]);
    bin.far_slope = hn::IfThenElse(reached, slope, bin.far_slope);
    next_x.Add(width);
    next_z.Add(height);
  }
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
    return hn::MulAdd(chord, square, hn::Mul(bin.near_slope, product));
  }
  /// Equation 5's numerator over s^2.
  HWY_INLINE FloatVector SlopeNumerator(const SplineBin& bin) const {
    const FloatVector rest = hn::Sub(hn::Set(FloatTag(), 1.0f), t);
    const FloatVector left = hn::MulAdd(bin.near_slope, hn::Mul(rest, rest), hn::Mul(hn::Add(chord, chord), product));
    return hn::MulAdd(bin.far_slope, square, left);
  }
  /// dz/dx (equation 5); `share` is s over the denominator.
  HWY_INLINE FloatVector Slope(const SplineBin& bin, FloatVector share) const {
    return hn::Mul(share, hn::Mul(share, SlopeNumerator(bin)));
  }
};

/// A number's image, with the sign of SplineBin, and dz/dx.
struct SplineImage {
  FloatVector value;
  FloatVector slope;
};

/// x -> z.
HWY_INLINE SplineImage InverseSpline(const SplineBin& bin) {
  SplinePoint point;
  const FloatVector per_width = hn::Div(hn::Set(FloatTag(), 1.0f), bin.width);
  point.chord = hn::Mul(bin.height, per_width);
  point.bend = hn::Sub(hn::Add(bin.near_slope, bin.far_slope), hn::Add(point.chord, point.chord));
  point.MoveTo(hn::Mul(hn::Sub(bin.number, bin.x), per_width));
  const FloatVector reciprocal = hn::Div(hn::Set(FloatTag(), 1.0f), point.Denominator());
  const FloatVector rise = hn::Mul(hn::Mul(bin.height, point.Numerator(bin)), reciprocal);
  return {hn::Add(bin.z, rise), point.Slope(bin, hn::Mul(point.chord, reciprocal))};
}

/// z -> x: t is the root of a t^2 + b t + c (equations 6 to 8), in the form without cancellation.
HWY_INLINE SplineImage ForwardSpline(const SplineBin& bin) {
  const FloatTag d;
  SplinePoint point;
  point.chord = hn::Div(bin.height, bin.width);
  point.bend = hn::Sub(hn::Add(bin.near_slope, bin.far_slope), hn::Add(point.chord, point.chord));
  const FloatVector rise = hn::Max(hn::Zero(d), hn::Sub(bin.number, bin.z));
  const FloatVector bend = hn::Mul(rise, point.bend);
  const FloatVector a = hn::MulAdd(bin.height, hn::Sub(point.chord, bin.near_slope), bend);
  const FloatVector b = hn::MulSub(bin.height, bin.near_slope, bend);
  const FloatVector minus_c = hn::Mul(point.chord, rise);
  const FloatVector discriminant = hn::MulAdd(hn::Mul(hn::Set(d, 4.0f), a), minus_c, hn::Mul(b, b));
  const FloatVector root = hn::Sqrt(hn::Max(hn::Zero(d), discriminant));
  point.MoveTo(hn::Div(hn::Add(minus_c, minus_c), hn::Add(b, root)));
  return {hn::MulAdd(point.t, bin.width, bin.x), point.Slope(bin, hn::Div(point.chord, point.Denominator()))};
}

/// Most vectors that Splines maps together.
inline constexpr size_t kSplineVectors = 8;

/// Splines of `bins` bins, the identity outside their interval. kBins: `bins` where that is known, or 0.
///
/// Finding a bin has much to do that does not wait for anything; what follows is one long chain. So all vectors take
/// one stage before the next: chains of different vectors then stand side by side within the processor's reach.
template <bool kForward, size_t kBins, bool kSoftClip, class Theta>
HWY_NOINLINE void Splines(const FloatVector* numbers, const Theta* theta, size_t count, size_t bins,
                          const SplineForm& form, MapResult* results) {
  const FloatTag d;
  constexpr size_t kCapacity = kBins != 0 ? kBins : kMaxSplineBins;
  SplineBin found[kSplineVectors];
  SplineImage images[kSplineVectors];
  const size_t known_bins = kBins != 0 ? kBins : bins;
  for (size_t i = 0; i < count; ++i) {
    const SplineAxis<kCapacity, kSoftClip> x(theta[i], known_bins, form, form.min_width);
    const SplineAxis<kCapacity, kSoftClip> z(theta[i].From(known_bins), known_bins, form, form.min_height);
    found[i] = FindSplineBin<kForward>(numbers[i], x, z, theta[i].From(2 * known_bins), known_bins, form);
  }
  for (size_t i = 0; i < count; ++i) {
    found[i].near_slope = SplineSlope<kSoftClip>(form, found[i].near_slope);
    found[i].far_slope = SplineSlope<kSoftClip>(form, found[i].far_slope);
  }
  for (size_t i = 0; i < count; ++i) images[i] = kForward ? ForwardSpline(found[i]) : InverseSpline(found[i]);
  for (size_t i = 0; i < count; ++i) {
    const FloatVector bound = hn::Set(d, form.bound);
    const FloatVector value = hn::IfThenElse(found[i].is_upper, hn::Neg(images[i].value), images[i].value);
    const FloatVector slope = images[i].slope;
    const FloatVector log = hn::IfThenElse(hn::Eq(slope, slope), LogOfNormal(d, slope, hn::Zero(d)), slope);
    const auto is_inside = hn::Le(hn::Abs(numbers[i]), bound);
    results[i] = {hn::IfThenElse(is_inside, value, numbers[i]),
                  hn::IfThenElseZero(is_inside, kForward ? hn::Neg(log) : log)};
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_SPLINE_INL_H_
