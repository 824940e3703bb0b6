// Sums of gradients, and Adam. Included once per SIMD target.

#if defined(DENSITYD_ENGINE_TRAIN_UPDATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_TRAIN_UPDATE_INL_H_
#undef DENSITYD_ENGINE_TRAIN_UPDATE_INL_H_
#else
#define DENSITYD_ENGINE_TRAIN_UPDATE_INL_H_
#endif

#include <span>

#include "hwy/highway.h"
#include "server/engine/train/kernels.h"
#include "server/engine/train/maps-inl.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::train {
namespace HWY_NAMESPACE {

HWY_INLINE double SumOfParts(std::span<const float* const> parts, size_t count, float* sum) {
  const FloatTag d;
  // Sixteen sums whatever the number of lanes.
  constexpr size_t kVectors = 16 / kLanes;
  FloatVector squares[kVectors];
  for (size_t v = 0; v < kVectors; ++v) squares[v] = hn::Zero(d);
  for (size_t i = 0; i < count; i += 16) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = i + v * kLanes;
      FloatVector total = hn::Load(d, parts[0] + at);
      for (size_t p = 1; p < parts.size(); ++p) total = hn::Add(total, hn::Load(d, parts[p] + at));
      hn::Store(total, d, sum + at);
      squares[v] = hn::MulAdd(total, total, squares[v]);
    }
  }
  HWY_ALIGN float lanes[16];
  double norm = 0;
  for (size_t v = 0; v < kVectors; ++v) hn::Store(squares[v], d, lanes + v * kLanes);
  for (const float lane : lanes) norm += lane;
  return norm;
}

HWY_INLINE void UpdateNumbers(const AdamStep& step, const AdamNumbers& numbers) {
  const FloatTag d;
  const FloatVector first_share = Constant(static_cast<float>(1 - kBeta1));
  const FloatVector second_share = Constant(static_cast<float>(1 - kBeta2));
  const FloatVector second_decay = Constant(static_cast<float>(kBeta2));
  const FloatVector epsilon = Constant(static_cast<float>(kEpsilon));
  for (size_t i = 0; i < numbers.count; i += kLanes) {
    const FloatVector value = hn::Load(d, numbers.values + i);
    const FloatVector gradient = hn::MulAdd(value, Constant(step.added_decay),
                                            hn::Mul(hn::Load(d, numbers.gradient + i), Constant(step.gradient_factor)));
    const FloatVector before = hn::Load(d, numbers.first_moment + i);
    const FloatVector first = hn::MulAdd(hn::Sub(gradient, before), first_share, before);
    const FloatVector second = hn::MulAdd(hn::Mul(gradient, gradient), second_share,
                                          hn::Mul(hn::Load(d, numbers.second_moment + i), second_decay));
    const FloatVector root = hn::MulAdd(hn::Sqrt(second), Constant(step.root_correction), epsilon);
    const FloatVector next =
        hn::NegMulAdd(Constant(step.rate), hn::Div(first, root), hn::Mul(value, Constant(step.decay_factor)));
    hn::Store(first, d, numbers.first_moment + i);
    hn::Store(second, d, numbers.second_moment + i);
    hn::Store(next, d, numbers.values + i);
    if (numbers.average == nullptr) continue;
    const FloatVector average = hn::Load(d, numbers.average + i);
    hn::Store(hn::MulAdd(hn::Sub(next, average), Constant(step.average_share), average), d, numbers.average + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_TRAIN_UPDATE_INL_H_
