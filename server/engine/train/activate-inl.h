// Activation functions as steps of their own, forward and backward. Included once per SIMD target.

#if defined(DENSITYD_ENGINE_TRAIN_ACTIVATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_TRAIN_ACTIVATE_INL_H_
#undef DENSITYD_ENGINE_TRAIN_ACTIVATE_INL_H_
#else
#define DENSITYD_ENGINE_TRAIN_ACTIVATE_INL_H_
#endif

#include "hwy/highway.h"
#include "server/engine/cpu/activation-inl.h"
#include "server/engine/train/maps-inl.h"
#include "server/engine/train/program.h"
#include "server/engine/train/shard.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::train {
namespace HWY_NAMESPACE {

/// Derivative of an activation function at x, where it is y.
HWY_INLINE FloatVector ActivationSlope(ActivationKind kind, FloatVector x, FloatVector y) {
  const FloatTag d;
  const FloatVector zero = hn::Zero(d);
  const FloatVector one = Constant(1);
  switch (kind) {
    case ActivationKind::kRelu:
      return hn::IfThenElseZero(hn::Gt(x, zero), one);
    case ActivationKind::kTanh:
      return hn::NegMulAdd(y, y, one);
    case ActivationKind::kGelu: {
      // Phi(x) + x phi(x).
      const FloatVector normal =
          hn::MulAdd(math::Erf(d, hn::Mul(x, Constant(0.707106781f))), Constant(0.5f), Constant(0.5f));
      const FloatVector density =
          hn::Mul(math::Exp(d, hn::Mul(hn::Mul(x, x), Constant(-0.5f))), Constant(0.398942280f));
      return hn::MulAdd(x, density, normal);
    }
    case ActivationKind::kSilu: {
      const FloatVector sigmoid = math::Sigmoid(d, x);
      return hn::MulAdd(y, hn::Sub(one, sigmoid), sigmoid);
    }
    case ActivationKind::kLeakyRelu:
      return hn::IfThenElse(hn::Gt(x, zero), one, Constant(0.01f));
    case ActivationKind::kElu:
      return hn::IfThenElse(hn::Gt(x, zero), one, hn::Add(y, one));
    default:
      return one;
  }
}

HWY_INLINE void ActivateForward(const ActivateStep& step, const Tile& tile) {
  math::ActivateTile(step.activation, tile.values + step.from.value * kTileRows,
                     tile.values + step.to.value * kTileRows, step.from.count, kTileRows);
}

inline HWY_NOINLINE void ActivateBackward(const ActivateStep& step, const Tile& tile) {
  if (!step.from.has_gradient()) return;
  const FloatTag d;
  for (size_t i = 0; i < step.from.count * kTileRows; i += kLanes) {
    const FloatVector x = hn::Load(d, tile.values + step.from.value * kTileRows + i);
    const FloatVector y = hn::Load(d, tile.values + step.to.value * kTileRows + i);
    const FloatVector by_y = hn::Load(d, tile.gradients + step.to.gradient * kTileRows + i);
    Accumulate(hn::Mul(by_y, ActivationSlope(step.activation, x, y)), step.adds,
               tile.gradients + step.from.gradient * kTileRows + i);
  }
}

/// 1 / keep for each of kLanes rows from `row` on that keep the unit, else 0: by a hash of the row and the key (the
/// finaliser of MurmurHash3).
HWY_INLINE FloatVector DropoutFactor(float keep, uint32_t key, uint32_t row) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> du;
  const auto mix = [&](hn::Vec<decltype(du)> bits) HWY_ATTR {
    bits = hn::Mul(hn::Xor(bits, hn::ShiftRight<16>(bits)), hn::Set(du, 0x85EBCA6Bu));
    bits = hn::Mul(hn::Xor(bits, hn::ShiftRight<13>(bits)), hn::Set(du, 0xC2B2AE35u));
    return hn::Xor(bits, hn::ShiftRight<16>(bits));
  };
  const auto rows = mix(hn::Iota(du, row));
  const auto bits = mix(hn::Xor(rows, hn::Set(du, key)));
  // 24 bits are what float32 holds.
  const hn::RebindToSigned<FloatTag> di;
  const FloatVector uniform =
      hn::Mul(hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<8>(bits))), Constant(1.0f / (1 << 24)));
  return hn::IfThenElseZero(hn::Lt(uniform, Constant(keep)), Constant(1 / keep));
}

/// Calls `visit` with where each vector of rows of each unit stands in a tile, and its factor.
template <class Visit>
HWY_INLINE void ForEachFactor(const DropoutStep& step, const Shard& shard, const Visit& visit) {
  for (size_t t = 0; t < shard.tiles.size(); ++t) {
    const uint32_t first_row = shard.first_row + static_cast<uint32_t>(t * kTileRows);
    for (uint32_t unit = 0; unit < step.from.count; ++unit) {
      const uint32_t key = shard.draw_key ^ ((step.layer << 16 | unit) * 0x9E3779B1u);
      for (uint32_t r = 0; r < kTileRows; r += kLanes) {
        visit(shard.tiles[t], unit * kTileRows + r, DropoutFactor(step.keep, key, first_row + r));
      }
    }
  }
}

inline HWY_NOINLINE void DropoutForward(const DropoutStep& step, const Shard& shard) {
  ForEachFactor(step, shard, [&](const Tile& tile, size_t at, FloatVector factor) HWY_ATTR {
    const FloatTag d;
    const FloatVector x = hn::Load(d, tile.values + step.from.value * kTileRows + at);
    hn::Store(hn::Mul(x, factor), d, tile.values + step.to.value * kTileRows + at);
  });
}

inline HWY_NOINLINE void DropoutBackward(const DropoutStep& step, const Shard& shard) {
  if (!step.from.has_gradient()) return;
  ForEachFactor(step, shard, [&](const Tile& tile, size_t at, FloatVector factor) HWY_ATTR {
    const FloatTag d;
    FloatVector gradient = hn::Mul(hn::Load(d, tile.gradients + step.to.gradient * kTileRows + at), factor);
    if (step.input_is_relu) {
      const FloatVector x = hn::Load(d, tile.values + step.from.value * kTileRows + at);
      gradient = hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), gradient);
    }
    Accumulate(gradient, step.adds, tile.gradients + step.from.gradient * kTileRows + at);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_TRAIN_ACTIVATE_INL_H_
