#include "server/engine/train/kernels.h"

// What is worth a code path of its own: everything else runs the portable one.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/engine/train/kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway asks.
#include "hwy/highway.h"
#include "server/engine/train/activate-inl.h"
#include "server/engine/train/linear-inl.h"
#include "server/engine/train/maps-inl.h"
#include "server/engine/train/rows-inl.h"
#include "server/engine/train/update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::train {
namespace HWY_NAMESPACE {

struct ForwardRunner {
  const float* parameters;
  const Shard& shard;

  HWY_ATTR void operator()(const LinearStep& step) const { LinearForward(step, parameters, shard); }
  HWY_ATTR void operator()(const ActivateStep& step) const {
    for (const Tile& tile : shard.tiles) ActivateForward(step, tile);
  }
  HWY_ATTR void operator()(const DropoutStep& step) const { DropoutForward(step, shard); }
  HWY_ATTR void operator()(const CopyStep& step) const {
    for (const Tile& tile : shard.tiles) CopyForward(step, tile);
  }
  HWY_ATTR void operator()(const MapStep& step) const {
    for (const Tile& tile : shard.tiles) WithMap(step, ForwardMap{step, parameters, tile});
  }
  HWY_ATTR void operator()(const DiagonalStep& step) const {
    for (const Tile& tile : shard.tiles) DiagonalForward(step, parameters, tile);
  }
  HWY_ATTR void operator()(const ReflectStep& step) const {
    for (const Tile& tile : shard.tiles) ReflectForward(step, parameters, tile);
  }
  HWY_ATTR void operator()(const SolveStep& step) const {
    for (const Tile& tile : shard.tiles) SolveForward(step, parameters, tile);
  }
};

struct BackwardRunner {
  const float* parameters;
  const Shard& shard;
  float* gradient;

  HWY_ATTR void operator()(const LinearStep& step) const { BackwardOf(step, parameters, shard, gradient); }
  HWY_ATTR void operator()(const ActivateStep& step) const {
    for (const Tile& tile : shard.tiles) ActivateBackward(step, tile);
  }
  HWY_ATTR void operator()(const DropoutStep& step) const { DropoutBackward(step, shard); }
  HWY_ATTR void operator()(const CopyStep& step) const {
    for (const Tile& tile : shard.tiles) CopyBackward(step, tile);
  }
  HWY_ATTR void operator()(const MapStep& step) const { WithMap(step, BackwardMap{step, parameters, shard, gradient}); }
  HWY_ATTR void operator()(const DiagonalStep& step) const { DiagonalBackward(step, parameters, shard, gradient); }
  HWY_ATTR void operator()(const ReflectStep& step) const { ReflectBackward(step, parameters, shard, gradient); }
  HWY_ATTR void operator()(const SolveStep& step) const { SolveBackward(step, parameters, shard, gradient); }
};

template <class Runner>
HWY_ATTR void RunStep(const Step& step, const Runner& runner) {
  if (const auto* linear = std::get_if<LinearStep>(&step)) {
    runner(*linear);
  } else if (const auto* map = std::get_if<MapStep>(&step)) {
    runner(*map);
  } else if (const auto* activate = std::get_if<ActivateStep>(&step)) {
    runner(*activate);
  } else if (const auto* dropout = std::get_if<DropoutStep>(&step)) {
    runner(*dropout);
  } else if (const auto* copy = std::get_if<CopyStep>(&step)) {
    runner(*copy);
  } else if (const auto* diagonal = std::get_if<DiagonalStep>(&step)) {
    runner(*diagonal);
  } else if (const auto* reflect = std::get_if<ReflectStep>(&step)) {
    runner(*reflect);
  } else {
    runner(*std::get_if<SolveStep>(&step));
  }
}

HWY_ATTR void ShardForwardOnTarget(const Program& program, const float* parameters, const Shard& shard) {
  for (const Tile& tile : shard.tiles) std::fill_n(tile.log, kTileRows, 0.0f);
  for (const Step& step : program.steps) RunStep(step, ForwardRunner{parameters, shard});
}

HWY_ATTR double ShardGradientOnTarget(const Program& program, const float* parameters, const Shard& shard,
                                      float* gradient) {
  ShardForwardOnTarget(program, parameters, shard);
  const double loss = BaseLoss(program, parameters, shard, gradient);
  for (auto step = program.steps.rbegin(); step != program.steps.rend(); ++step) {
    RunStep(*step, BackwardRunner{parameters, shard, gradient});
  }
  return loss;
}

HWY_ATTR double SumPartsOnTarget(std::span<const float* const> parts, size_t count, float* sum) {
  return SumOfParts(parts, count, sum);
}

HWY_ATTR void TakeAdamStepOnTarget(const AdamStep& step, const AdamNumbers& numbers) { UpdateNumbers(step, numbers); }

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace densityd::engine::train {

HWY_EXPORT(ShardForwardOnTarget);
HWY_EXPORT(ShardGradientOnTarget);
HWY_EXPORT(SumPartsOnTarget);
HWY_EXPORT(TakeAdamStepOnTarget);

void ShardForward(const Program& program, const float* parameters, const Shard& shard) {
  HWY_DYNAMIC_DISPATCH(ShardForwardOnTarget)(program, parameters, shard);
}

double ShardGradient(const Program& program, const float* parameters, const Shard& shard, float* gradient) {
  return HWY_DYNAMIC_DISPATCH(ShardGradientOnTarget)(program, parameters, shard, gradient);
}

double SumParts(std::span<const float* const> parts, size_t count, float* sum) {
  return HWY_DYNAMIC_DISPATCH(SumPartsOnTarget)(parts, count, sum);
}

void TakeAdamStep(const AdamStep& step, const AdamNumbers& numbers) {
  HWY_DYNAMIC_DISPATCH(TakeAdamStepOnTarget)(step, numbers);
}

}  // namespace densityd::engine::train
#endif  // HWY_ONCE
