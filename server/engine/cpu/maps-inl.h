// Univariate maps with their log|det|, in both layouts. Included once per SIMD target.
//
// A map is a struct with one function from operands to (value, change of the row's log|det|). Adding one: a MapKind in
// program.h, a struct here, a line in WithMap.

#if defined(DENSITYD_ENGINE_CPU_MAPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_CPU_MAPS_INL_H_
#undef DENSITYD_ENGINE_CPU_MAPS_INL_H_
#else
#define DENSITYD_ENGINE_CPU_MAPS_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "server/engine/cpu/math-inl.h"
#include "server/engine/cpu/program.h"
#include "server/engine/cpu/spline-inl.h"
#include "server/engine/cpu/table.h"
#include "server/engine/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

/// What a map is given; see MapEntry and MapStep.
template <class Theta>
struct Operands {
  FloatVector x;
  Theta parameters;
  FloatVector center;  ///< with factor and offset: anything, unless the map has kReadsLinear
  FloatVector factor;
  FloatVector offset;
  FloatVector constant;
  const MapStep& step;
};

HWY_INLINE FloatVector One() { return hn::Set(FloatTag(), 1.0f); }
HWY_INLINE FloatVector Zero() { return hn::Zero(FloatTag()); }

/// s of an affine map before its sign; see ScaleKind.
HWY_INLINE FloatVector UnsignedLogScale(const auto& o) {
  const FloatTag d;
  const FloatVector a = o.parameters[0];
  const AffineForm& form = o.step.affine;
  const FloatVector shifted = hn::Add(a, hn::Set(d, form.offset));
  switch (form.scale) {
    case ScaleKind::kSoftClip:
      return hn::Div(a, hn::Add(One(), hn::Abs(hn::Div(a, o.constant))));
    case ScaleKind::kExp:
      return a;
    case ScaleKind::kSoftplus:
      return Log(d, hn::Add(Softplus(d, shifted), hn::Set(d, form.smallest)));
    case ScaleKind::kSigmoid:
      // Without a minimum the log of a sigmoid is exact where the sigmoid itself underflows.
      if (form.smallest == 0) return hn::Sub(hn::Set(d, form.log_range), Softplus(d, hn::Neg(shifted)));
      return Log(d, hn::MulAdd(Sigmoid(d, shifted), hn::Set(d, form.range), hn::Set(d, form.smallest)));
    default:
      return hn::Mul(o.constant, Tanh(d, hn::Div(a, o.constant)));
  }
}

HWY_INLINE FloatVector LogScale(const auto& o) {
  const FloatVector s = UnsignedLogScale(o);
  return o.step.affine.is_reciprocal ? hn::Neg(s) : s;
}

struct LinearMap {
  static constexpr bool kReadsLinear = true;
  HWY_INLINE MapResult operator()(const auto& o) const {
    return {hn::MulAdd(hn::Sub(o.x, o.center), o.factor, o.offset), Zero()};
  }
};
struct ShiftForwardMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const { return {hn::Add(o.x, o.parameters[0]), Zero()}; }
};
struct ShiftInverseMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const { return {hn::Sub(o.x, o.parameters[0]), Zero()}; }
};
struct AffineForwardMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatVector s = LogScale(o);
    return {hn::MulAdd(o.x, Exp(FloatTag(), s), o.parameters[1]), s};
  }
};
struct AffineInverseMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatVector minus_s = hn::Neg(LogScale(o));
    return {hn::Mul(hn::Sub(o.x, o.parameters[1]), Exp(FloatTag(), minus_s)), minus_s};
  }
};
/// Outside its domain a map gives 0 with log|det| = -infinity: the density is 0 there.
HWY_INLINE MapResult Guarded(hn::Mask<FloatTag> outside, FloatVector value, FloatVector log) {
  const FloatTag d;
  const FloatVector infinity = hn::BitCast(d, hn::Set(hn::RebindToSigned<FloatTag>(), 0x7F800000));
  return {hn::IfThenZeroElse(outside, value), hn::IfThenElse(outside, hn::Neg(infinity), log)};
}

struct ExpMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const { return {Exp(FloatTag(), o.x), o.x}; }
};
struct LogMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatVector y = Log(FloatTag(), o.x);
    return Guarded(hn::Le(o.x, Zero()), y, hn::Neg(y));
  }
};
/// log(sigmoid(x) (1 - sigmoid(x))) = -softplus(x) - softplus(-x). The factor 1 / (1 - 2 alpha) is a constant.
struct SigmoidMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatTag d;
    const FloatVector width = hn::Sub(One(), hn::Add(o.constant, o.constant));
    const FloatVector value = hn::Div(hn::Sub(Sigmoid(d, o.x), o.constant), width);
    return {value, hn::Neg(hn::Add(Softplus(d, o.x), Softplus(d, hn::Neg(o.x))))};
  }
};
struct LogitMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatTag d;
    const FloatVector width = hn::Sub(One(), hn::Add(o.constant, o.constant));
    const FloatVector u = hn::MulAdd(o.x, width, o.constant);
    const FloatVector rest = hn::MulAdd(hn::Sub(One(), o.x), width, o.constant);
    const FloatVector log_u = Log(d, u);
    const FloatVector log_rest = Log(d, rest);
    const auto outside = hn::Or(hn::Le(u, Zero()), hn::Le(rest, Zero()));
    return Guarded(outside, hn::Sub(log_u, log_rest), hn::Neg(hn::Add(log_u, log_rest)));
  }
};
struct SoftplusMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatTag d;
    return {Softplus(d, o.x), hn::Neg(Softplus(d, hn::Neg(o.x)))};
  }
};
/// log(e^x - 1) = x + log(1 - e^-x), whose derivative is 1 / (1 - e^-x).
struct SoftplusInverseMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatTag d;
    const FloatVector log_rest = Log(d, hn::Neg(Expm1(d, hn::Neg(o.x))));
    return Guarded(hn::Le(o.x, Zero()), hn::Add(o.x, log_rest), hn::Neg(log_rest));
  }
};
/// log(1 - tanh(x)^2) = 2 (log 2 - |x| - log(1 + e^-2|x|)).
struct TanhMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatTag d;
    const FloatVector magnitude = hn::Abs(o.x);
    const FloatVector rest = Log1pOfUnit(d, Exp(d, hn::Mul(magnitude, hn::Set(d, -2.0f))));
    const FloatVector half = hn::Sub(hn::Set(d, 0.693147181f), hn::Add(magnitude, rest));
    return {Tanh(d, o.x), hn::Add(half, half)};
  }
};
struct AtanhMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatTag d;
    const FloatVector product = hn::Mul(hn::Sub(One(), o.x), hn::Add(One(), o.x));
    return Guarded(hn::Ge(hn::Abs(o.x), One()), Atanh(d, o.x), hn::Neg(Log(d, product)));
  }
};
struct LeakyReluMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatTag d;
    const auto below = hn::Lt(o.x, Zero());
    return {hn::IfThenElse(below, hn::Mul(o.x, o.constant), o.x), hn::IfThenElseZero(below, Log(d, o.constant))};
  }
};
/// Leaves x, and counts the density of a standard normal at (x - center) * factor, without its constant.
struct NormalLogDensityMap {
  static constexpr bool kReadsLinear = true;
  HWY_INLINE MapResult operator()(const auto& o) const {
    const FloatVector y = hn::Mul(hn::Sub(o.x, o.center), o.factor);
    return {o.x, hn::Mul(hn::Mul(y, y), hn::Mul(o.constant, hn::Set(FloatTag(), -0.5f)))};
  }
};

template <bool kForward>
struct SplineMap {
  static constexpr bool kReadsLinear = false;
  HWY_INLINE MapResult operator()(const auto& o) const {
    MapResult result;
    Map(&o.x, &o.parameters, 1, o.step, &result);
    return result;
  }

  /// `count` vectors at once, at most kSplineVectors.
  template <class Theta>
  HWY_INLINE void Map(const FloatVector* x, const Theta* theta, size_t count, const MapStep& step,
                      MapResult* results) const {
    if (step.spline.soft_clip) {
      MapBins<true>(x, theta, count, step, results);
    } else {
      MapBins<false>(x, theta, count, step, results);
    }
  }

  template <bool kSoftClip, class Theta>
  HWY_INLINE void MapBins(const FloatVector* x, const Theta* theta, size_t count, const MapStep& step,
                          MapResult* results) const {
    // Without or with the two parameters of a circle.
    const size_t bins = (step.parameters + 1) / 3;
    // Eight bins are what everybody uses: their loops are unrolled, and the bins stay in registers.
    if (bins == 8) {
      Splines<kForward, 8, kSoftClip>(x, theta, count, bins, step.spline, results);
    } else {
      Splines<kForward, 0, kSoftClip>(x, theta, count, bins, step.spline, results);
    }
  }
};

/// Calls `visitor` with the map of `kind`.
template <class Visitor>
HWY_INLINE void WithMap(MapKind kind, const Visitor& visitor) {
  switch (kind) {
    case MapKind::kLinear:
      return visitor(LinearMap());
    case MapKind::kShiftForward:
      return visitor(ShiftForwardMap());
    case MapKind::kShiftInverse:
      return visitor(ShiftInverseMap());
    case MapKind::kAffineForward:
      return visitor(AffineForwardMap());
    case MapKind::kAffineInverse:
      return visitor(AffineInverseMap());
    case MapKind::kExp:
      return visitor(ExpMap());
    case MapKind::kLog:
      return visitor(LogMap());
    case MapKind::kSigmoid:
      return visitor(SigmoidMap());
    case MapKind::kLogit:
      return visitor(LogitMap());
    case MapKind::kSoftplus:
      return visitor(SoftplusMap());
    case MapKind::kSoftplusInverse:
      return visitor(SoftplusInverseMap());
    case MapKind::kTanh:
      return visitor(TanhMap());
    case MapKind::kAtanh:
      return visitor(AtanhMap());
    case MapKind::kLeakyRelu:
      return visitor(LeakyReluMap());
    case MapKind::kSplineForward:
      return visitor(SplineMap<true>());
    case MapKind::kSplineInverse:
      return visitor(SplineMap<false>());
    case MapKind::kNormalLogDensity:
      return visitor(NormalLogDensityMap());
  }
}

/// A map over a tile: rows are lanes.
struct TileMap {
  const Program& program;
  const MapStep& step;
  const TileTable& table;

  template <class Map>
  HWY_INLINE void operator()(Map map) const {
    for (uint32_t e = step.first; e < step.first + step.count; ++e) Entry(map, program.entries[e]);
  }

  template <class Map>
  HWY_INLINE void Entry(Map map, const MapEntry& entry) const {
    const FloatTag d;
    for (size_t r = 0; r < table.rows; r += kLanes) {
      const MapResult result = map(Operands<Parameters>{
          hn::Load(d, At(entry.in, r)), Parameters{At(entry.parameters, r), kTileRows}, hn::Set(d, entry.center),
          hn::Set(d, entry.factor), hn::Set(d, entry.offset), hn::Set(d, step.constant), step});
      Store(result, entry, r);
    }
  }

  template <bool kForward>
  HWY_INLINE void Entry(SplineMap<kForward> map, const MapEntry& entry) const {
    const FloatTag d;
    for (size_t begin = 0; begin < table.rows; begin += kSplineVectors * kLanes) {
      const size_t count = std::min(kSplineVectors, (table.rows - begin + kLanes - 1) / kLanes);
      FloatVector x[kSplineVectors];
      Parameters theta[kSplineVectors];
      MapResult results[kSplineVectors];
      for (size_t i = 0; i < count; ++i) {
        x[i] = hn::Load(d, At(entry.in, begin + i * kLanes));
        theta[i] = {At(entry.parameters, begin + i * kLanes), kTileRows};
      }
      map.Map(x, theta, count, step, results);
      for (size_t i = 0; i < count; ++i) Store(results[i], entry, begin + i * kLanes);
    }
  }

  HWY_INLINE void Store(const MapResult& result, const MapEntry& entry, size_t row) const {
    const FloatTag d;
    hn::Store(result.value, d, At(entry.out, row));
    if (entry.copy != kNoColumn) hn::Store(result.value, d, At(entry.copy, row));
    hn::Store(hn::Add(hn::Load(d, table.log + row), result.log), d, table.log + row);
  }

  HWY_INLINE float* At(Column column, size_t row) const { return table.numbers + column * kTileRows + row; }
};

/// A map over a few rows: entries are lanes, where there are several.
struct RowMap {
  const Program& program;
  const MapStep& step;
  const RowTable& table;

  template <class Map>
  HWY_INLINE void operator()(Map map) const {
    for (size_t row = 0; row < table.rows; ++row) {
      float* numbers = table.numbers + row * table.stride;
      if (step.count == 1) {
        Entry(map, program.entries[step.first], numbers, table.log[row]);
        continue;
      }
      for (uint32_t done = 0; done < step.count; done += kLanes) {
        Entries(map, &program.entries[step.first + done], std::min<size_t>(kLanes, step.count - done), numbers,
                table.log[row]);
      }
    }
  }

  /// One entry, as in a triangular solve, where each waits for the one before: in all lanes alike, without a way
  /// through memory.
  template <class Map>
  HWY_INLINE void Entry(Map map, const MapEntry& entry, float* numbers, float& log) const {
    const FloatTag d;
    const MapResult result = map(Operands<SharedParameters>{
        hn::Set(d, numbers[entry.in]), SharedParameters{numbers + entry.parameters}, hn::Set(d, entry.center),
        hn::Set(d, entry.factor), hn::Set(d, entry.offset), hn::Set(d, step.constant), step});
    const float value = hn::GetLane(result.value);
    numbers[entry.out] = value;
    if (entry.copy != kNoColumn) numbers[entry.copy] = value;
    log += hn::GetLane(result.log);
  }

  template <class Map>
  HWY_INLINE void Entries(Map map, const MapEntry* entries, size_t count, float* numbers, float& log) const {
    const FloatTag d;
    HWY_ALIGN float lanes[4][kLanes] = {};
    HWY_ALIGN float parameters[kMaxMapParameters][kLanes];
    // Lanes without an entry hold zeros, so that the arithmetic on them is ordinary.
    for (size_t j = 0; j < step.parameters && count < kLanes; ++j) hn::Store(Zero(), d, parameters[j]);
    for (size_t i = 0; i < count; ++i) {
      const MapEntry& entry = entries[i];
      lanes[0][i] = numbers[entry.in];
      for (size_t j = 0; j < step.parameters; ++j) parameters[j][i] = numbers[entry.parameters + j];
      if constexpr (Map::kReadsLinear) {
        lanes[1][i] = entry.center;
        lanes[2][i] = entry.factor;
        lanes[3][i] = entry.offset;
      }
    }
    const MapResult result =
        map(Operands<Parameters>{hn::Load(d, lanes[0]), Parameters{parameters[0], kLanes}, hn::Load(d, lanes[1]),
                                 hn::Load(d, lanes[2]), hn::Load(d, lanes[3]), hn::Set(d, step.constant), step});
    hn::Store(result.value, d, lanes[0]);
    hn::Store(result.log, d, lanes[1]);
    for (size_t i = 0; i < count; ++i) {
      numbers[entries[i].out] = lanes[0][i];
      if (entries[i].copy != kNoColumn) numbers[entries[i].copy] = lanes[0][i];
      log += lanes[1][i];
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_MAPS_INL_H_
