// The rational-quadratic spline from data to base (server/flow/rational_quadratic_spline.h defines it) and its
// gradient. Included once per SIMD target.

#if defined(DENSITYD_ENGINE_TRAIN_SPLINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_TRAIN_SPLINE_INL_H_
#undef DENSITYD_ENGINE_TRAIN_SPLINE_INL_H_
#else
#define DENSITYD_ENGINE_TRAIN_SPLINE_INL_H_
#endif

#include "hwy/highway.h"
#include "server/engine/cpu/math-inl.h"
#include "server/engine/cpu/program.h"
#include "server/engine/cpu/spline-inl.h"
#include "server/engine/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::train {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = cpu::HWY_NAMESPACE;
using cpu::SplineForm;
using cpu::HWY_NAMESPACE::FloatTag;
using cpu::HWY_NAMESPACE::FloatVector;
using cpu::HWY_NAMESPACE::MapResult;
using math::SplineAxis;
using math::SplineBin;

/// Raw parameters as logarithms to base 2, where SplineForm wants them so.
template <class Theta>
struct Base2Parameters {
  Theta theta;
  size_t sizes;  ///< so many are of widths and heights
  float factor;
  float slope_factor;

  HWY_INLINE Base2Parameters(const Theta& raw, size_t bins, const SplineForm& form)
      : theta(raw), sizes(2 * bins), factor(1.44269504f), slope_factor(form.soft_clip ? 1.44269504f : 1) {}
  HWY_INLINE Base2Parameters() = default;

  HWY_INLINE FloatVector operator[](size_t j) const { return hn::Mul(theta[j], hn::Set(FloatTag(), factor)); }
  HWY_INLINE Base2Parameters From(size_t j) const {
    Base2Parameters rest = *this;
    rest.theta = theta.From(j);
    if (j >= sizes) rest.factor = slope_factor;
    return rest;
  }
};

/// The gradients by what a bin is made of; see SplineBin for the mirrored coordinates.
struct SplineBinGradient {
  FloatVector number;
  FloatVector x;  ///< of the bins before this one: each moves the knot
  FloatVector z;
  FloatVector width;
  FloatVector height;
  FloatVector near_slope;
  FloatVector far_slope;
};

/// Equations 4 and 5 of Durkan et al. 2019, differentiated: with t the share of the width, s the chord's slope, a and b
/// the slopes at the knots and q = t (1 - t),
///   z = z0 + h num / den, num = s t^2 + a q, den = s + (a + b - 2 s) q,
///   log dz/dx = 2 log s + log n - 2 log den, n = b t^2 + 2 s q + a (1 - t)^2.
HWY_INLINE SplineBinGradient BinGradient(const SplineBin& bin, FloatVector by_z, FloatVector by_log) {
  const FloatTag d;
  const FloatVector one = hn::Set(d, 1.0f);
  const FloatVector a = bin.near_slope;
  const FloatVector b = bin.far_slope;
  const FloatVector per_width = hn::Div(one, bin.width);
  math::SplinePoint point;
  point.chord = hn::Mul(bin.height, per_width);
  point.bend = hn::Sub(hn::Add(a, b), hn::Add(point.chord, point.chord));
  point.MoveTo(hn::Mul(hn::Sub(bin.number, bin.x), per_width));
  const FloatVector s = point.chord;
  const FloatVector t = point.t;
  const FloatVector q = point.product;
  const FloatVector rest = hn::Sub(one, t);
  const FloatVector turn = hn::Sub(rest, t);  // 1 - 2 t
  const FloatVector twice_log = hn::Add(by_log, by_log);

  const FloatVector per_den = hn::Div(one, point.Denominator());
  const FloatVector share = hn::Mul(point.Numerator(bin), per_den);
  const FloatVector by_num = hn::Mul(hn::Mul(by_z, bin.height), per_den);
  const FloatVector by_den = hn::Neg(hn::MulAdd(by_num, share, hn::Mul(twice_log, per_den)));
  const FloatVector by_n = hn::Div(by_log, point.SlopeNumerator(bin));

  const FloatVector by_product = hn::Add(by_num, by_den);
  FloatVector by_s = hn::MulAdd(by_num, point.square, hn::Div(twice_log, s));
  by_s = hn::MulAdd(hn::Sub(by_n, by_den), hn::Add(q, q), hn::Add(by_s, by_den));
  FloatVector by_t = hn::Mul(by_num, hn::MulAdd(a, turn, hn::Mul(hn::Add(s, s), t)));
  by_t = hn::MulAdd(hn::Mul(by_den, point.bend), turn, by_t);
  const FloatVector n_slope = hn::NegMulAdd(a, rest, hn::MulAdd(s, turn, hn::Mul(b, t)));
  by_t = hn::MulAdd(hn::Add(by_n, by_n), n_slope, by_t);

  SplineBinGradient gradient;
  gradient.number = hn::Mul(by_t, per_width);
  gradient.x = hn::Neg(gradient.number);
  gradient.z = by_z;
  gradient.width = hn::Neg(hn::MulAdd(gradient.number, t, hn::Mul(hn::Mul(by_s, s), per_width)));
  gradient.height = hn::MulAdd(by_z, share, hn::Mul(by_s, per_width));
  gradient.near_slope = hn::MulAdd(by_product, q, hn::Mul(by_n, hn::Mul(rest, rest)));
  gradient.far_slope = hn::MulAdd(by_den, q, hn::Mul(by_n, point.square));
  return gradient;
}

/// Derivative of a slope by its raw parameter, which stands to base 2 where kSoftClip.
template <bool kSoftClip>
HWY_INLINE FloatVector SlopeDerivative(const SplineForm& form, FloatVector raw, FloatVector slope) {
  const FloatTag d;
  if constexpr (kSoftClip) {
    const FloatVector one = hn::Set(d, 1.0f);
    const FloatVector share = hn::Div(one, hn::MulAdd(hn::Abs(raw), hn::Set(d, form.per_slope_clip), one));
    return hn::Mul(slope, hn::Mul(share, share));
  } else {
    return math::Sigmoid(d, hn::Add(raw, hn::Set(d, form.slope_offset)));
  }
}

/// Which of a half's bins a number is in, counted from the nearer end: reached[k] where it is in bin k or beyond.
template <size_t kHalf>
struct ReachedBins {
  hn::Mask<FloatTag> reached[kHalf + 1];
};

template <size_t kCapacity, bool kSoftClip>
HWY_INLINE void FindReached(const SplineBin& bin, const SplineAxis<kCapacity, kSoftClip>& x, size_t bins,
                            const SplineForm& form, ReachedBins<(kCapacity + 1) / 2>& to) {
  // The sums of FindSplineBin again: the same bits.
  const FloatTag d;
  math::RunningSum<(kCapacity > 8)> next{hn::Set(d, -form.bound)};
  const size_t half = (bins + 1) / 2;
#pragma GCC unroll 4
  for (size_t k = 0; k + 1 < half; ++k) {
    const FloatVector power = hn::IfThenElse(bin.is_upper, x.power[bins - 1 - k], x.power[k]);
    next.Add(hn::MulAdd(power, x.scale, hn::Set(d, form.min_width)));
    to.reached[k + 1] = hn::Ge(bin.number, next.sum);
  }
}

/// The gradients by the raw sizes along one axis, numbers `first` + 0 … bins - 1. by_knot is that by the knot before
/// the bin, by_size that by the bin.
template <size_t kCapacity, bool kSoftClip, class Theta, class Gradients>
HWY_INLINE void SizeGradients(const SplineBin& bin, const SplineAxis<kCapacity, kSoftClip>& axis,
                              const ReachedBins<(kCapacity + 1) / 2>& bins_reached, FloatVector by_knot,
                              FloatVector by_size, const Theta& raw, size_t first, size_t bins, const SplineForm& form,
                              float smallest, const Gradients& gradients) {
  const FloatTag d;
  const FloatVector zero = hn::Zero(d);
  const size_t half = (bins + 1) / 2;
  FloatVector by_bin[(kCapacity + 1) / 2];
  FloatVector mean = zero;  // of the gradients by all bins, weighted by what the softmax gives each
#pragma GCC unroll 4
  for (size_t k = 0; k < half; ++k) {
    FloatVector gradient = k == 0 ? by_size : hn::IfThenElseZero(bins_reached.reached[k], by_size);
    if (k + 1 < half) gradient = hn::IfThenElse(bins_reached.reached[k + 1], by_knot, gradient);
    by_bin[k] = gradient;
    mean = hn::MulAdd(gradient, hn::IfThenElse(bin.is_upper, axis.power[bins - 1 - k], axis.power[k]), mean);
  }
  const float total = 2 * form.bound - static_cast<float>(bins) * smallest;
  mean = hn::Mul(mean, hn::Mul(axis.scale, hn::Set(d, 1 / total)));
#pragma GCC unroll 8
  for (size_t k = 0; k < bins; ++k) {
    const FloatVector lower = k < half ? by_bin[k] : zero;
    const FloatVector upper = bins - 1 - k < half ? by_bin[bins - 1 - k] : zero;
    const FloatVector gradient = hn::Sub(hn::IfThenElse(bin.is_upper, upper, lower), mean);
    FloatVector size = hn::Mul(axis.power[k], axis.scale);
    if constexpr (kSoftClip) {
      const FloatVector one = hn::Set(d, 1.0f);
      const FloatVector share = hn::Div(one, hn::MulAdd(hn::Abs(raw[k]), hn::Set(d, form.per_size_clip), one));
      size = hn::Mul(size, hn::Mul(share, share));
    }
    gradients.Add(first + k, hn::Mul(size, gradient));
  }
}

/// The gradients by the raw slopes, from those by the slopes at the bin's two knots by their raw parameters.
template <size_t kCapacity, class Gradients>
HWY_INLINE void SlopeGradients(const SplineBin& bin, const ReachedBins<(kCapacity + 1) / 2>& bins_reached,
                               FloatVector by_near, FloatVector by_far, size_t bins, const Gradients& gradients) {
  const FloatVector zero = hn::Zero(FloatTag());
  const size_t half = (bins + 1) / 2;
  // by_knot[k] of knot k + 1 from the nearer end: the far one of bin k, the near one of bin k + 1.
  FloatVector by_knot[(kCapacity + 1) / 2];
#pragma GCC unroll 4
  for (size_t k = 0; k < half; ++k) {
    FloatVector gradient = k == 0 ? by_far : hn::IfThenElseZero(bins_reached.reached[k], by_far);
    if (k + 1 < half) {
      FloatVector next = by_near;
      if (k + 2 < half) next = hn::IfThenZeroElse(bins_reached.reached[k + 2], by_near);
      gradient = hn::IfThenElse(bins_reached.reached[k + 1], next, gradient);
    }
    by_knot[k] = gradient;
  }
#pragma GCC unroll 8
  for (size_t j = 0; j + 1 < bins; ++j) {
    const FloatVector lower = j < half ? by_knot[j] : zero;
    const FloatVector upper = bins - 2 - j < half ? by_knot[bins - 2 - j] : zero;
    gradients.Add(2 * bins + j, hn::IfThenElse(bin.is_upper, upper, lower));
  }
}

/// Vectors of numbers whose gradients are computed side by side: their axes stand in the first-level cache meanwhile.
template <size_t kBins>
inline constexpr size_t kBackwardVectors = kBins != 0 ? 4 : 1;

/// What a vector's gradient is made of.
template <size_t kCapacity, bool kSoftClip>
struct SplineState {
  SplineAxis<kCapacity, kSoftClip> x;
  SplineAxis<kCapacity, kSoftClip> z;
  SplineBin bin;
  FloatVector near_raw;
  FloatVector far_raw;
  SplineBinGradient by;
};

/// The gradients by x of `count` vectors, at most kBackwardVectors; those by the raw parameters go to `gradients`.
/// kBins: `bins` where that is known, or 0. As in math::Splines, all vectors take one stage before the next: the long
/// chain in the middle then stands beside those of the others.
template <size_t kBins, bool kSoftClip, class Theta, class Gradients>
HWY_NOINLINE void SplinesBackward(const FloatVector* numbers, const Base2Parameters<Theta>* theta, size_t count,
                                  size_t known_bins, const SplineForm& form, const FloatVector* by_y,
                                  const FloatVector* by_log, const Gradients* gradients, FloatVector* by_x) {
  const FloatTag d;
  constexpr size_t kCapacity = kBins != 0 ? kBins : cpu::kMaxSplineBins;
  const size_t bins = kBins != 0 ? kBins : known_bins;
  SplineState<kCapacity, kSoftClip> states[kBackwardVectors<kBins>];
  for (size_t i = 0; i < count; ++i) {
    auto& state = states[i];
    state.x = SplineAxis<kCapacity, kSoftClip>(theta[i], bins, form, form.min_width);
    state.z = SplineAxis<kCapacity, kSoftClip>(theta[i].From(bins), bins, form, form.min_height);
    state.bin = math::FindSplineBin<false>(numbers[i], state.x, state.z, theta[i].From(2 * bins), bins, form);
  }
  for (size_t i = 0; i < count; ++i) {
    SplineBin& bin = states[i].bin;
    states[i].near_raw = bin.near_slope;
    states[i].far_raw = bin.far_slope;
    bin.near_slope = math::SplineSlope<kSoftClip>(form, bin.near_slope);
    bin.far_slope = math::SplineSlope<kSoftClip>(form, bin.far_slope);
  }
  for (size_t i = 0; i < count; ++i) {
    auto& state = states[i];
    // Outside the interval the map is the identity, and no parameter matters.
    const auto is_inside = hn::Le(hn::Abs(numbers[i]), hn::Set(d, form.bound));
    const FloatVector by_z =
        hn::IfThenElseZero(is_inside, hn::IfThenElse(state.bin.is_upper, hn::Neg(by_y[i]), by_y[i]));
    state.by = BinGradient(state.bin, by_z, hn::IfThenElseZero(is_inside, by_log[i]));
    const FloatVector by_number = hn::IfThenElse(state.bin.is_upper, hn::Neg(state.by.number), state.by.number);
    by_x[i] = hn::IfThenElse(is_inside, by_number, by_y[i]);
    state.by.near_slope =
        hn::Mul(state.by.near_slope, SlopeDerivative<kSoftClip>(form, state.near_raw, state.bin.near_slope));
    state.by.far_slope =
        hn::Mul(state.by.far_slope, SlopeDerivative<kSoftClip>(form, state.far_raw, state.bin.far_slope));
  }
  for (size_t i = 0; i < count; ++i) {
    const auto& state = states[i];
    const SplineBinGradient& by = state.by;
    ReachedBins<(kCapacity + 1) / 2> reached;
    FindReached(state.bin, state.x, bins, form, reached);
    SizeGradients(state.bin, state.x, reached, by.x, by.width, theta[i], 0, bins, form, form.min_width, gradients[i]);
    SizeGradients(state.bin, state.z, reached, by.z, by.height, theta[i].From(bins), bins, bins, form, form.min_height,
                  gradients[i]);
    SlopeGradients<kCapacity>(state.bin, reached, by.near_slope, by.far_slope, bins, gradients[i]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_TRAIN_SPLINE_INL_H_
