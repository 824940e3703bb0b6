// Vector types of a SIMD target, and loads and stores of a part of a vector. Included once per SIMD target.

#if defined(DENSITYD_ENGINE_CPU_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_CPU_VECTORS_INL_H_
#undef DENSITYD_ENGINE_CPU_VECTORS_INL_H_
#else
#define DENSITYD_ENGINE_CPU_VECTORS_INL_H_
#endif

#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;
inline constexpr size_t kLanes = HWY_LANES(float);

/// The first `count` numbers at `from` (all lanes where there are more), zeros behind them.
HWY_INLINE FloatVector LoadPart(const float* from, size_t count) {
  const FloatTag d;
  if (count >= kLanes) return hn::LoadU(d, from);
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, from, count * sizeof(float));
  return hn::Load(d, lanes);
}

/// The first `count` lanes to `to` (all of them where there are fewer).
HWY_INLINE void StorePart(FloatVector vector, float* to, size_t count) {
  const FloatTag d;
  if (count >= kLanes) return hn::StoreU(vector, d, to);
  HWY_ALIGN float lanes[kLanes];
  hn::Store(vector, d, lanes);
  std::memcpy(to, lanes, count * sizeof(float));
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_VECTORS_INL_H_
