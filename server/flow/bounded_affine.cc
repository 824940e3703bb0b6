#include "server/flow/bounded_affine.h"

#include <algorithm>
#include <cstring>

// What is worth a code path of its own: everything else runs the portable one.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/flow/bounded_affine.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway asks.
#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::flow {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;
constexpr size_t kLanes = HWY_LANES(float);

// `result`, or NaN where `x` is: Highway's functions do not promise it.
HWY_INLINE FloatVector KeepNan(FloatVector x, FloatVector result) { return hn::IfThenElse(hn::IsNaN(x), x, result); }

HWY_INLINE FloatVector Exponential(FloatVector x) { return KeepNan(x, hn::Exp(FloatTag(), x)); }

HWY_INLINE void MapVector(const BoundedAffine& map, const float* x, const float* theta, float* y, float* log_g) {
  const FloatTag d;
  FloatVector a;
  FloatVector t;
  hn::LoadInterleaved2(d, theta, a, t);
  const FloatVector bound = hn::Set(d, map.bound);
  const FloatVector bounded = KeepNan(a, hn::Tanh(d, hn::Div(a, bound)));
  const FloatVector log = hn::Mul(hn::Set(d, map.sign * map.bound), bounded);
  const FloatVector g = Exponential(log);
  const FloatVector from = hn::LoadU(d, x);
  hn::StoreU(map.shifts_first ? hn::Mul(hn::Sub(from, t), g) : hn::MulAdd(from, g, t), d, y);
  hn::StoreU(log, d, log_g);
}

HWY_ATTR void MapNumbersOnTarget(const BoundedAffine& map, const AffineValues& values) {
  size_t i = 0;
  for (; i + kLanes <= values.count; i += kLanes) {
    MapVector(map, values.x + i, values.theta + 2 * i, values.y + i, values.log_g + i);
  }
  const size_t left = values.count - i;
  if (left == 0) return;
  HWY_ALIGN float x[kLanes] = {};
  HWY_ALIGN float theta[2 * kLanes] = {};
  HWY_ALIGN float y[kLanes];
  HWY_ALIGN float log_g[kLanes];
  std::memcpy(x, values.x + i, left * sizeof(float));
  std::memcpy(theta, values.theta + 2 * i, 2 * left * sizeof(float));
  MapVector(map, x, theta, y, log_g);
  std::memcpy(values.y + i, y, left * sizeof(float));
  std::memcpy(values.log_g + i, log_g, left * sizeof(float));
}

HWY_INLINE void DifferentiateVector(const BoundedAffine& map, const AffineGradients& at) {
  const FloatTag d;
  const FloatVector log = hn::LoadU(d, at.log_g);
  const FloatVector by_y = hn::LoadU(d, at.by_y);
  const FloatVector by_x = hn::Mul(by_y, Exponential(log));
  const FloatVector factor = map.shifts_first ? by_y : by_x;
  const FloatVector by_log = hn::MulAdd(factor, hn::LoadU(d, at.x_or_y), hn::LoadU(d, at.by_log_g));
  const FloatVector bounded = hn::Div(log, hn::Set(d, map.bound));
  const FloatVector slope = hn::Mul(hn::Set(d, map.sign), hn::NegMulAdd(bounded, bounded, hn::Set(d, 1.0F)));
  hn::StoreU(by_x, d, at.by_x);
  hn::StoreInterleaved2(hn::Mul(by_log, slope), map.shifts_first ? hn::Neg(by_x) : by_y, d, at.by_theta);
}

HWY_ATTR void DifferentiateNumbersOnTarget(const BoundedAffine& map, const AffineGradients& gradients) {
  const auto from = [&](size_t i) {
    AffineGradients at = gradients;
    at.x_or_y += i;
    at.log_g += i;
    at.by_y += i;
    at.by_log_g += i;
    at.by_x += i;
    at.by_theta += 2 * i;
    return at;
  };
  size_t i = 0;
  for (; i + kLanes <= gradients.count; i += kLanes) DifferentiateVector(map, from(i));
  const size_t left = gradients.count - i;
  if (left == 0) return;
  HWY_ALIGN float inputs[4][kLanes] = {};
  HWY_ALIGN float by_x[kLanes];
  HWY_ALIGN float by_theta[2 * kLanes];
  const AffineGradients at = from(i);
  std::memcpy(inputs[0], at.x_or_y, left * sizeof(float));
  std::memcpy(inputs[1], at.log_g, left * sizeof(float));
  std::memcpy(inputs[2], at.by_y, left * sizeof(float));
  std::memcpy(inputs[3], at.by_log_g, left * sizeof(float));
  DifferentiateVector(map, {left, inputs[0], inputs[1], inputs[2], inputs[3], by_x, by_theta});
  std::memcpy(at.by_x, by_x, left * sizeof(float));
  std::memcpy(at.by_theta, by_theta, 2 * left * sizeof(float));
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::flow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace densityd::flow {

HWY_EXPORT(MapNumbersOnTarget);
HWY_EXPORT(DifferentiateNumbersOnTarget);

void MapNumbers(const BoundedAffine& map, const AffineValues& values) {
  HWY_DYNAMIC_DISPATCH(MapNumbersOnTarget)(map, values);
}

void DifferentiateNumbers(const BoundedAffine& map, const AffineGradients& gradients) {
  HWY_DYNAMIC_DISPATCH(DifferentiateNumbersOnTarget)(map, gradients);
}

}  // namespace densityd::flow
#endif  // HWY_ONCE
