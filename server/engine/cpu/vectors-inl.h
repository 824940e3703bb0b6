// Vector types of a SIMD target, and loads and stores. Included once per SIMD target.

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

/// Whether a part of a vector can be loaded and stored without touching the memory beside it.
#if HWY_TARGET <= HWY_AVX2
inline constexpr bool kHasMaskedMemory = true;
#else
inline constexpr bool kHasMaskedMemory = false;
#endif

/// The first `count` lanes; all of them where there are fewer.
HWY_INLINE hn::Mask<FloatTag> FirstLanes(size_t count) { return hn::FirstN(FloatTag(), HWY_MIN(count, kLanes)); }

/// The first `count` numbers at `from` (all lanes where there are more), zeros behind them.
HWY_INLINE FloatVector LoadPart(const float* from, size_t count) {
  const FloatTag d;
  if (count >= kLanes) return hn::LoadU(d, from);
  if constexpr (kHasMaskedMemory) return hn::MaskedLoad(FirstLanes(count), d, from);
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, from, count * sizeof(float));
  return hn::Load(d, lanes);
}

/// The first `count` lanes to `to` (all of them where there are fewer).
HWY_INLINE void StorePart(FloatVector vector, float* to, size_t count) {
  const FloatTag d;
  if (count >= kLanes) return hn::StoreU(vector, d, to);
  if constexpr (kHasMaskedMemory) return hn::BlendedStore(vector, FirstLanes(count), d, to);
  HWY_ALIGN float lanes[kLanes];
  hn::Store(vector, d, lanes);
  std::memcpy(to, lanes, count * sizeof(float));
}

/// Parameters of a univariate map, one vector each: number j of all lanes stands at from + j * step, aligned.
struct Parameters {
  const float* from;
  size_t step;

  HWY_INLINE FloatVector operator[](size_t j) const { return hn::Load(FloatTag(), from + j * step); }
  /// Those from `j` on.
  HWY_INLINE Parameters From(size_t j) const { return {from + j * step, step}; }
};

/// The same for one number in all lanes.
struct SharedParameters {
  const float* from;

  HWY_INLINE FloatVector operator[](size_t j) const { return hn::Set(FloatTag(), from[j]); }
  HWY_INLINE SharedParameters From(size_t j) const { return {from + j}; }
};

/// What a univariate map makes of a number.
struct MapResult {
  FloatVector value;
  FloatVector log;  ///< added to the row's log|det|
};

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_VECTORS_INL_H_
