// Activation functions of both layouts. Included once per SIMD target.

#if defined(DENSITYD_ENGINE_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_CPU_ACTIVATION_INL_H_
#undef DENSITYD_ENGINE_CPU_ACTIVATION_INL_H_
#else
#define DENSITYD_ENGINE_CPU_ACTIVATION_INL_H_
#endif

#include "hwy/highway.h"
#include "server/engine/cpu/math-inl.h"
#include "server/engine/cpu/program.h"
#include "server/engine/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

/// Whether a matrix product applies the function itself, before it stores.
HWY_INLINE bool IsCheap(ActivationKind kind) {
  return kind == ActivationKind::kIdentity || kind == ActivationKind::kRelu;
}

/// NaN stays NaN, which a maximum with zero promises on no target.
HWY_INLINE FloatVector Relu(FloatVector x) { return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(FloatTag())), x); }

/// A finished sum: adding zero turns -0, which tiny sums can round to, into 0, so that a zero input that is skipped
/// leaves no trace.
HWY_INLINE FloatVector Finish(FloatVector sum, bool relu) {
  const FloatVector value = hn::Add(sum, hn::Zero(FloatTag()));
  return relu ? Relu(value) : value;
}

struct IdentityFunction {
  HWY_INLINE FloatVector operator()(FloatVector x) const { return x; }
};
struct ReluFunction {
  HWY_INLINE FloatVector operator()(FloatVector x) const { return Relu(x); }
};
struct TanhFunction {
  HWY_INLINE FloatVector operator()(FloatVector x) const { return Tanh(FloatTag(), x); }
};
/// x Phi(x), exact form.
struct GeluFunction {
  HWY_INLINE FloatVector operator()(FloatVector x) const {
    const FloatTag d;
    const FloatVector phi =
        hn::MulAdd(Erf(d, hn::Mul(x, hn::Set(d, 0.707106781f))), hn::Set(d, 0.5f), hn::Set(d, 0.5f));
    return hn::Mul(x, phi);
  }
};
struct SiluFunction {
  HWY_INLINE FloatVector operator()(FloatVector x) const { return hn::Mul(x, Sigmoid(FloatTag(), x)); }
};
/// Slope 0.01 below zero.
struct LeakyReluFunction {
  HWY_INLINE FloatVector operator()(FloatVector x) const {
    const FloatTag d;
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(x, hn::Set(d, 0.01f)), x);
  }
};
/// e^x - 1 below zero.
struct EluFunction {
  HWY_INLINE FloatVector operator()(FloatVector x) const {
    const FloatTag d;
    const FloatVector zero = hn::Zero(d);
    return hn::IfThenElse(hn::Lt(x, zero), Expm1(d, hn::Min(zero, x)), x);
  }
};

/// Calls `visitor` with the function object of `kind`.
template <class Visitor>
HWY_INLINE void WithActivation(ActivationKind kind, const Visitor& visitor) {
  switch (kind) {
    case ActivationKind::kIdentity:
      return visitor(IdentityFunction());
    case ActivationKind::kRelu:
      return visitor(ReluFunction());
    case ActivationKind::kTanh:
      return visitor(TanhFunction());
    case ActivationKind::kGelu:
      return visitor(GeluFunction());
    case ActivationKind::kSilu:
      return visitor(SiluFunction());
    case ActivationKind::kLeakyRelu:
      return visitor(LeakyReluFunction());
    case ActivationKind::kElu:
      return visitor(EluFunction());
  }
}

struct TileActivation {
  const float* from;
  float* to;
  size_t columns;
  size_t rows;
  template <class Function>
  HWY_INLINE void operator()(Function function) const {
    const FloatTag d;
    for (size_t column = 0; column < columns; ++column) {
      for (size_t r = 0; r < rows; r += kLanes) {
        hn::Store(function(hn::Load(d, from + column * kTileRows + r)), d, to + column * kTileRows + r);
      }
    }
  }
};

struct RowActivation {
  const float* from;
  float* to;
  size_t count;
  template <class Function>
  HWY_INLINE void operator()(Function function) const {
    for (size_t i = 0; i < count; i += kLanes) StorePart(function(LoadPart(from + i, count - i)), to + i, count - i);
  }
};

/// `columns` neighbouring columns in the tile layout. `from` and `to` may be the same.
inline HWY_NOINLINE void ActivateTile(ActivationKind kind, const float* from, float* to, size_t columns, size_t rows) {
  WithActivation(kind, TileActivation{from, to, columns, rows});
}

/// `count` neighbouring numbers of one row. `from` and `to` may be the same.
inline HWY_NOINLINE void ActivateRow(ActivationKind kind, const float* from, float* to, size_t count) {
  WithActivation(kind, RowActivation{from, to, count});
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_ACTIVATION_INL_H_
