// Univariate maps, activations and what else works column by column, forward and backward. Included once per SIMD
// target.
//
// A map is a struct with Forward, from x and theta to the value and what is added to the row's log|det|, and Backward,
// from the gradients by these two to those by x and theta. Adding one: a MapKind in program.h, a struct here, a line in
// WithMap.

#if defined(DENSITYD_ENGINE_TRAIN_MAPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_TRAIN_MAPS_INL_H_
#undef DENSITYD_ENGINE_TRAIN_MAPS_INL_H_
#else
#define DENSITYD_ENGINE_TRAIN_MAPS_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "server/engine/cpu/math-inl.h"
#include "server/engine/cpu/vectors-inl.h"
#include "server/engine/train/program.h"
#include "server/engine/train/shard.h"
#include "server/engine/train/spline-inl.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::train {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace math = cpu::HWY_NAMESPACE;
using cpu::ScaleKind;
using cpu::HWY_NAMESPACE::FloatTag;
using cpu::HWY_NAMESPACE::FloatVector;
using cpu::HWY_NAMESPACE::kLanes;
using cpu::HWY_NAMESPACE::MapResult;
using cpu::HWY_NAMESPACE::Parameters;
using cpu::HWY_NAMESPACE::SharedParameters;

HWY_INLINE FloatVector Constant(float number) { return hn::Set(FloatTag(), number); }

/// Where the gradients by parameters go that each row has of its own.
struct RowGradients {
  float* to;  ///< parameter j at to + j * kTileRows
  HWY_INLINE void Add(size_t j, FloatVector gradient) const { hn::Store(gradient, FloatTag(), to + j * kTileRows); }
};

/// Of parameters that all rows share: summed.
struct SharedGradients {
  float* sums;  ///< parameter j at sums + j * kLanes, lane by lane
  HWY_INLINE void Add(size_t j, FloatVector gradient) const {
    float* sum = sums + j * kLanes;
    hn::Store(hn::Add(hn::Load(FloatTag(), sum), gradient), FloatTag(), sum);
  }
};

/// s of an affine map, and ds / da.
struct LogScale {
  FloatVector value;
  FloatVector slope;
};

HWY_INLINE LogScale UnsignedLogScale(const MapStep& step, FloatVector a) {
  const FloatTag d;
  const FloatVector one = Constant(1);
  const FloatVector c = Constant(step.constant);
  const AffineForm& form = step.affine;
  const FloatVector shifted = hn::Add(a, Constant(form.offset));
  switch (form.scale) {
    case ScaleKind::kSoftClip: {
      const FloatVector share = hn::Div(one, hn::Add(one, hn::Abs(hn::Div(a, c))));
      return {hn::Mul(a, share), hn::Mul(share, share)};
    }
    case ScaleKind::kExp:
      return {a, one};
    case ScaleKind::kSoftplus: {
      const FloatVector scale = hn::Add(math::Softplus(d, shifted), Constant(form.smallest));
      return {math::Log(d, scale), hn::Div(math::Sigmoid(d, shifted), scale)};
    }
    case ScaleKind::kSigmoid: {
      const FloatVector sigmoid = math::Sigmoid(d, shifted);
      const FloatVector rest = math::Sigmoid(d, hn::Neg(shifted));
      // Without a minimum both are exact where the sigmoid itself underflows.
      if (form.smallest == 0) {
        return {hn::Sub(Constant(form.log_range), math::Softplus(d, hn::Neg(shifted))), rest};
      }
      const FloatVector scale = hn::MulAdd(sigmoid, Constant(form.range), Constant(form.smallest));
      return {math::Log(d, scale), hn::Div(hn::Mul(hn::Mul(sigmoid, rest), Constant(form.range)), scale)};
    }
    default: {
      const FloatVector bounded = math::Tanh(d, hn::Div(a, c));
      return {hn::Mul(c, bounded), hn::NegMulAdd(bounded, bounded, one)};
    }
  }
}

HWY_INLINE LogScale LogScaleOf(const MapStep& step, FloatVector a) {
  const LogScale scale = UnsignedLogScale(step, a);
  if (!step.affine.is_reciprocal) return scale;
  return {hn::Neg(scale.value), hn::Neg(scale.slope)};
}

template <bool kSubtracts>
struct ShiftMap {
  template <class Theta>
  HWY_INLINE MapResult Forward(const MapStep&, FloatVector x, const Theta& theta) const {
    return {kSubtracts ? hn::Sub(x, theta[0]) : hn::Add(x, theta[0]), hn::Zero(FloatTag())};
  }
  template <class Theta, class Gradients>
  HWY_INLINE FloatVector Backward(const MapStep&, FloatVector, const Theta&, FloatVector by_y, FloatVector,
                                  const Gradients& gradients) const {
    gradients.Add(0, kSubtracts ? hn::Neg(by_y) : by_y);
    return by_y;
  }
};

/// y = x exp(s) + t.
struct ScaleShiftMap {
  template <class Theta>
  HWY_INLINE MapResult Forward(const MapStep& step, FloatVector x, const Theta& theta) const {
    const FloatVector s = LogScaleOf(step, theta[0]).value;
    return {hn::MulAdd(x, math::Exp(FloatTag(), s), theta[1]), s};
  }
  template <class Theta, class Gradients>
  HWY_INLINE FloatVector Backward(const MapStep& step, FloatVector x, const Theta& theta, FloatVector by_y,
                                  FloatVector by_log, const Gradients& gradients) const {
    const LogScale s = LogScaleOf(step, theta[0]);
    const FloatVector by_x = hn::Mul(by_y, math::Exp(FloatTag(), s.value));
    gradients.Add(0, hn::Mul(hn::MulAdd(by_x, x, by_log), s.slope));
    gradients.Add(1, by_y);
    return by_x;
  }
};

/// y = (x - t) exp(-s).
struct ShiftScaleMap {
  template <class Theta>
  HWY_INLINE MapResult Forward(const MapStep& step, FloatVector x, const Theta& theta) const {
    const FloatVector minus_s = hn::Neg(LogScaleOf(step, theta[0]).value);
    return {hn::Mul(hn::Sub(x, theta[1]), math::Exp(FloatTag(), minus_s)), minus_s};
  }
  template <class Theta, class Gradients>
  HWY_INLINE FloatVector Backward(const MapStep& step, FloatVector x, const Theta& theta, FloatVector by_y,
                                  FloatVector by_log, const Gradients& gradients) const {
    const LogScale s = LogScaleOf(step, theta[0]);
    const FloatVector by_x = hn::Mul(by_y, math::Exp(FloatTag(), hn::Neg(s.value)));
    const FloatVector by_minus_s = hn::MulAdd(by_x, hn::Sub(x, theta[1]), by_log);
    gradients.Add(0, hn::Neg(hn::Mul(by_minus_s, s.slope)));
    gradients.Add(1, hn::Neg(by_x));
    return by_x;
  }
};

template <size_t kBins, bool kSoftClip>
struct SplineMap {
  /// `count` vectors at once, at most cpu::kSplineVectors.
  template <class Theta>
  HWY_INLINE void Forward(const MapStep& step, const FloatVector* x, const Theta* theta, size_t count,
                          MapResult* results) const {
    const size_t bins = (step.parameters + 1) / 3;
    Base2Parameters<Theta> parameters[math::kSplineVectors];
    for (size_t i = 0; i < count; ++i) parameters[i] = Base2Parameters<Theta>(theta[i], bins, step.spline);
    math::Splines<false, kBins, kSoftClip>(x, parameters, count, bins, step.spline, results);
  }
  /// The same, at most kBackwardVectors<kBins>.
  template <class Theta, class Gradients>
  HWY_INLINE void Backward(const MapStep& step, const FloatVector* x, const Theta* theta, size_t count,
                           const FloatVector* by_y, const FloatVector* by_log, const Gradients* gradients,
                           FloatVector* by_x) const {
    const size_t bins = (step.parameters + 1) / 3;
    Base2Parameters<Theta> parameters[kBackwardVectors<kBins>];
    for (size_t i = 0; i < count; ++i) parameters[i] = Base2Parameters<Theta>(theta[i], bins, step.spline);
    SplinesBackward<kBins, kSoftClip>(x, parameters, count, bins, step.spline, by_y, by_log, gradients, by_x);
  }
};

/// Calls `visitor` with the map of `step`.
template <class Visitor>
HWY_INLINE void WithMap(const MapStep& step, const Visitor& visitor) {
  switch (step.kind) {
    case MapKind::kAddShift:
      return visitor(ShiftMap<false>());
    case MapKind::kSubtractShift:
      return visitor(ShiftMap<true>());
    case MapKind::kScaleShift:
      return visitor(ScaleShiftMap());
    case MapKind::kShiftScale:
      return visitor(ShiftScaleMap());
    case MapKind::kSpline:
      // Eight bins are what everybody uses: their loops are unrolled, and the bins stay in registers.
      if (step.parameters == 23) {
        return step.spline.soft_clip ? visitor(SplineMap<8, true>()) : visitor(SplineMap<8, false>());
      }
      return step.spline.soft_clip ? visitor(SplineMap<0, true>()) : visitor(SplineMap<0, false>());
  }
}

/// Sets a gradient of 64 rows, or adds to it.
HWY_INLINE void Accumulate(FloatVector gradient, bool adds, float* to) {
  const FloatTag d;
  hn::Store(adds ? hn::Add(hn::Load(d, to), gradient) : gradient, d, to);
}

/// The sum over the lanes, set or added.
HWY_INLINE void SetSum(FloatVector lanes, bool adds, float& to) {
  to = (adds ? to : 0) + hn::GetLane(hn::SumOfLanes(FloatTag(), lanes));
}

struct ForwardMap {
  const MapStep& step;
  const float* parameters;
  const Tile& tile;

  template <class Map>
  HWY_INLINE void operator()(Map map) const {
    for (const MapStep::Entry& entry : step.entries) {
      if (entry.shared_theta == kNowhere) {
        Entry(map, entry, Parameters{tile.values + entry.theta * kTileRows, kTileRows}, /*theta_step=*/1);
      } else {
        Entry(map, entry, SharedParameters{parameters + entry.shared_theta}, /*theta_step=*/0);
      }
    }
  }

  /// The parameters of row r begin `r * theta_step` numbers after `theta`.
  template <class Map, class Theta>
  HWY_INLINE void Entry(Map map, const MapStep::Entry& entry, Theta theta, size_t theta_step) const {
    for (size_t r = 0; r < kTileRows; r += kLanes, theta.from += kLanes * theta_step) {
      Store(map.Forward(step, hn::Load(FloatTag(), In(entry, r)), theta), entry, r);
    }
  }

  template <size_t kBins, bool kSoftClip, class Theta>
  HWY_INLINE void Entry(SplineMap<kBins, kSoftClip> map, const MapStep::Entry& entry, Theta theta,
                        size_t theta_step) const {
    constexpr size_t kCount = HWY_MIN(math::kSplineVectors, kTileRows / kLanes);
    for (size_t begin = 0; begin < kTileRows; begin += kCount * kLanes) {
      FloatVector x[kCount];
      Theta of_rows[kCount];
      MapResult results[kCount];
      for (size_t i = 0; i < kCount; ++i, theta.from += kLanes * theta_step) {
        x[i] = hn::Load(FloatTag(), In(entry, begin + i * kLanes));
        of_rows[i] = theta;
      }
      map.Forward(step, x, of_rows, kCount, results);
      for (size_t i = 0; i < kCount; ++i) Store(results[i], entry, begin + i * kLanes);
    }
  }

  HWY_INLINE const float* In(const MapStep::Entry& entry, size_t row) const {
    return tile.values + entry.in.value * kTileRows + row;
  }

  HWY_INLINE void Store(const MapResult& result, const MapStep::Entry& entry, size_t row) const {
    const FloatTag d;
    hn::Store(result.value, d, tile.values + entry.out.value * kTileRows + row);
    hn::Store(hn::Add(hn::Load(d, tile.log + row), result.log), d, tile.log + row);
  }
};

struct BackwardMap {
  const MapStep& step;
  const float* parameters;
  const Shard& shard;
  float* gradient;

  template <class Map>
  HWY_INLINE void operator()(Map map) const {
    for (const MapStep::Entry& entry : step.entries) {
      if (entry.shared_theta == kNowhere) {
        for (const Tile& tile : shard.tiles) {
          const size_t theta = entry.theta * kTileRows;
          const size_t theta_gradient = entry.theta_gradient * kTileRows;
          TileRows(
              map, entry, tile,
              [&](size_t r) HWY_ATTR {
                return Parameters{tile.values + theta + r, kTileRows};
              },
              [&](size_t r) HWY_ATTR { return RowGradients{tile.gradients + theta_gradient + r}; });
        }
      } else {
        Shared(map, entry);
      }
    }
  }

  template <class Map>
  HWY_INLINE void Shared(Map map, const MapStep::Entry& entry) const {
    const FloatTag d;
    HWY_ALIGN float sums[cpu::kMaxMapParameters * kLanes];
    std::fill_n(sums, step.parameters * kLanes, 0.0f);
    for (const Tile& tile : shard.tiles) {
      TileRows(
          map, entry, tile, [&](size_t) HWY_ATTR { return SharedParameters{parameters + entry.shared_theta}; },
          [&](size_t) HWY_ATTR { return SharedGradients{sums}; });
    }
    for (size_t j = 0; j < step.parameters; ++j) {
      SetSum(hn::Load(d, sums + j * kLanes), shard.adds, gradient[entry.shared_theta + j]);
    }
  }

  /// All rows of a tile; `theta` and `gradients` give what belongs to those from row r on.
  template <class Map, class ThetaAt, class GradientsAt>
  HWY_INLINE void TileRows(Map map, const MapStep::Entry& entry, const Tile& tile, const ThetaAt& theta,
                           const GradientsAt& gradients) const {
    for (size_t r = 0; r < kTileRows; r += kLanes) {
      const FloatVector by_x =
          map.Backward(step, X(entry, tile, r), theta(r), ByY(entry, tile, r), ByLog(tile, r), gradients(r));
      StoreByX(by_x, entry, tile, r);
    }
  }

  template <size_t kBins, bool kSoftClip, class ThetaAt, class GradientsAt>
  HWY_INLINE void TileRows(SplineMap<kBins, kSoftClip> map, const MapStep::Entry& entry, const Tile& tile,
                           const ThetaAt& theta, const GradientsAt& gradients) const {
    constexpr size_t kCount = HWY_MIN(kBackwardVectors<kBins>, kTileRows / kLanes);
    for (size_t begin = 0; begin < kTileRows; begin += kCount * kLanes) {
      FloatVector x[kCount];
      FloatVector by_y[kCount];
      FloatVector by_log[kCount];
      FloatVector by_x[kCount];
      decltype(theta(0)) theta_of[kCount];
      decltype(gradients(0)) gradients_of[kCount];
      for (size_t i = 0; i < kCount; ++i) {
        const size_t r = begin + i * kLanes;
        x[i] = X(entry, tile, r);
        by_y[i] = ByY(entry, tile, r);
        by_log[i] = ByLog(tile, r);
        theta_of[i] = theta(r);
        gradients_of[i] = gradients(r);
      }
      map.Backward(step, x, theta_of, kCount, by_y, by_log, gradients_of, by_x);
      for (size_t i = 0; i < kCount; ++i) StoreByX(by_x[i], entry, tile, begin + i * kLanes);
    }
  }

  HWY_INLINE FloatVector X(const MapStep::Entry& entry, const Tile& tile, size_t r) const {
    return hn::Load(FloatTag(), tile.values + entry.in.value * kTileRows + r);
  }
  HWY_INLINE FloatVector ByY(const MapStep::Entry& entry, const Tile& tile, size_t r) const {
    return hn::Load(FloatTag(), tile.gradients + entry.out.gradient * kTileRows + r);
  }
  /// The loss falls by a row's log|det| times the row's weight.
  HWY_INLINE FloatVector ByLog(const Tile& tile, size_t r) const {
    return hn::Neg(hn::Load(FloatTag(), tile.weights + r));
  }
  HWY_INLINE void StoreByX(FloatVector by_x, const MapStep::Entry& entry, const Tile& tile, size_t r) const {
    if (entry.in.has_gradient()) Accumulate(by_x, entry.adds, tile.gradients + entry.in.gradient * kTileRows + r);
  }
};

HWY_INLINE void CopyForward(const CopyStep& step, const Tile& tile) {
  for (const CopyStep::Entry& entry : step.entries) {
    std::copy_n(tile.values + entry.from.value * kTileRows, entry.from.count * kTileRows,
                tile.values + entry.to.value * kTileRows);
  }
}

HWY_INLINE void CopyBackward(const CopyStep& step, const Tile& tile) {
  const FloatTag d;
  for (const CopyStep::Entry& entry : step.entries) {
    if (!entry.from.has_gradient()) continue;
    const float* from = tile.gradients + entry.to.gradient * kTileRows;
    float* to = tile.gradients + entry.from.gradient * kTileRows;
    for (size_t i = 0; i < entry.from.count * kTileRows; i += kLanes) {
      Accumulate(hn::Load(d, from + i), entry.adds, to + i);
    }
  }
}

/// The factor of a column under a diagonal step, what it adds to log|det|, and the slope of that by `raw`.
struct DiagonalFactor {
  FloatVector factor;
  FloatVector log;
  FloatVector log_slope;
};

HWY_INLINE DiagonalFactor FactorOf(DiagonalKind kind, float number) {
  const FloatTag d;
  const FloatVector raw = Constant(number);
  switch (kind) {
    case DiagonalKind::kSoftplus: {
      const FloatVector factor = hn::Add(math::Softplus(d, raw), Constant(1e-3f));
      return {factor, math::Log(d, factor), hn::Div(math::Sigmoid(d, raw), factor)};
    }
    case DiagonalKind::kBoundedExp: {
      const FloatVector c = Constant(6.90775528f);  // log 1000
      const FloatVector bounded = math::Tanh(d, hn::Div(raw, c));
      const FloatVector log = hn::Neg(hn::Mul(c, bounded));
      return {math::Exp(d, log), log, hn::MulSub(bounded, bounded, Constant(1))};
    }
    default:
      return {math::Exp(d, hn::Neg(raw)), hn::Neg(raw), Constant(-1)};
  }
}

HWY_INLINE void DiagonalForward(const DiagonalStep& step, const float* parameters, const Tile& tile) {
  const FloatTag d;
  for (size_t i = 0; i < step.entries.size(); ++i) {
    const DiagonalStep::Entry& entry = step.entries[i];
    const DiagonalFactor factor = FactorOf(step.kind, parameters[step.raw + i]);
    const FloatVector shift = step.shift == kNowhere ? hn::Zero(d) : Constant(parameters[step.shift + i]);
    for (size_t r = 0; r < kTileRows; r += kLanes) {
      const FloatVector x = hn::Load(d, tile.values + entry.in.value * kTileRows + r);
      hn::Store(hn::Mul(hn::Sub(x, shift), factor.factor), d, tile.values + entry.out.value * kTileRows + r);
      hn::Store(hn::Add(hn::Load(d, tile.log + r), factor.log), d, tile.log + r);
    }
  }
}

HWY_INLINE void DiagonalBackward(const DiagonalStep& step, const float* parameters, const Shard& shard,
                                 float* gradient) {
  const FloatTag d;
  for (size_t i = 0; i < step.entries.size(); ++i) {
    const DiagonalStep::Entry& entry = step.entries[i];
    const DiagonalFactor factor = FactorOf(step.kind, parameters[step.raw + i]);
    const FloatVector shift = step.shift == kNowhere ? hn::Zero(d) : Constant(parameters[step.shift + i]);
    FloatVector by_log = hn::Zero(d);
    FloatVector by_shift = hn::Zero(d);
    for (const Tile& tile : shard.tiles) {
      for (size_t r = 0; r < kTileRows; r += kLanes) {
        const FloatVector by_y = hn::Load(d, tile.gradients + entry.out.gradient * kTileRows + r);
        const FloatVector x = hn::Load(d, tile.values + entry.in.value * kTileRows + r);
        const FloatVector by_x = hn::Mul(by_y, factor.factor);
        by_log = hn::Add(by_log, hn::MulSub(by_x, hn::Sub(x, shift), hn::Load(d, tile.weights + r)));
        by_shift = hn::Sub(by_shift, by_x);
        if (entry.in.has_gradient()) Accumulate(by_x, entry.adds, tile.gradients + entry.in.gradient * kTileRows + r);
      }
    }
    SetSum(hn::Mul(by_log, factor.log_slope), shard.adds, gradient[step.raw + i]);
    if (step.shift != kNowhere) SetSum(by_shift, shard.adds, gradient[step.shift + i]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_TRAIN_MAPS_INL_H_
