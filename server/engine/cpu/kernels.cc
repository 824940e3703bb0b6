#include "server/engine/cpu/kernels.h"

// What is worth a code path of its own: everything else runs the portable one.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/engine/cpu/kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway asks.
#include "hwy/highway.h"
#include "server/engine/cpu/activation-inl.h"
#include "server/engine/cpu/dense-inl.h"
#include "server/engine/cpu/maps-inl.h"
#include "server/engine/cpu/noise-inl.h"
#include "server/engine/cpu/vectors-inl.h"
#include "server/engine/philox.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

/// Runs one step in the tile layout.
struct TileRunner {
  const Program& program;
  const Weights& weights;
  const TileTable& table;

  HWY_ATTR void operator()(const DenseStep& step) const {
    DenseTile(program, step, weights, table.numbers, table.rows);
  }

  HWY_ATTR void operator()(const ActivateStep& step) const {
    ActivateTile(step.activation, At(step.from), At(step.to), step.count, table.rows);
  }

  HWY_ATTR void operator()(const AddStep& step) const {
    const FloatTag d;
    const float* from = At(step.from);
    float* to = At(step.to);
    for (size_t i = 0; i < step.count * kTileRows; i += kLanes) {
      hn::Store(hn::Add(hn::Load(d, to + i), hn::Load(d, from + i)), d, to + i);
    }
  }

  HWY_ATTR void operator()(const CopyStep& step) const {
    for (uint32_t i = step.first; i < step.first + step.count; ++i) {
      std::memcpy(At(program.copies[i].to), At(program.copies[i].from), kTileRows * sizeof(float));
    }
  }

  HWY_ATTR void operator()(const MapStep& step) const { WithMap(step.kind, TileMap{program, step, table}); }

  HWY_ATTR float* At(Column column) const { return table.numbers + column * kTileRows; }
};

/// Runs one step in the row layout for kRows rows.
template <size_t kRows>
struct RowRunner {
  const Program& program;
  const Weights& weights;
  const RowTable& table;

  HWY_ATTR void operator()(const DenseStep& step) const { DenseRows<kRows>(program, step, weights, table); }

  HWY_ATTR void operator()(const ActivateStep& step) const {
    for (size_t r = 0; r < kRows; ++r) ActivateRow(step.activation, At(r, step.from), At(r, step.to), step.count);
  }

  HWY_ATTR void operator()(const AddStep& step) const {
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t i = 0; i < step.count; ++i) *At(r, step.to + i) += *At(r, step.from + i);
    }
  }

  HWY_ATTR void operator()(const CopyStep& step) const {
    for (size_t r = 0; r < kRows; ++r) {
      for (uint32_t i = step.first; i < step.first + step.count; ++i) {
        *At(r, program.copies[i].to) = *At(r, program.copies[i].from);
      }
    }
  }

  HWY_ATTR void operator()(const MapStep& step) const { WithMap(step.kind, RowMap{program, step, table}); }

  HWY_ATTR float* At(size_t row, Column column) const { return table.numbers + row * table.stride + column; }
};

template <class Runner>
HWY_ATTR void RunSteps(const Program& program, const Runner& runner) {
  for (const Step& step : program.steps) {
    if (const auto* dense = std::get_if<DenseStep>(&step)) {
      runner(*dense);
    } else if (const auto* map = std::get_if<MapStep>(&step)) {
      runner(*map);
    } else if (const auto* activate = std::get_if<ActivateStep>(&step)) {
      runner(*activate);
    } else if (const auto* add = std::get_if<AddStep>(&step)) {
      runner(*add);
    } else {
      runner(*std::get_if<CopyStep>(&step));
    }
  }
}

HWY_ATTR void RunTileOnTarget(const Program& program, const Weights& weights, const TileTable& table) {
  RunSteps(program, TileRunner{program, weights, table});
}

HWY_ATTR void RunFewRowsOnTarget(const Program& program, const Weights& weights, const RowTable& table) {
  switch (table.rows) {
    case 1:
      return RunSteps(program, RowRunner<1>{program, weights, table});
    case 2:
      return RunSteps(program, RowRunner<2>{program, weights, table});
    case 4:
      return RunSteps(program, RowRunner<4>{program, weights, table});
    default:
      return RunSteps(program, RowRunner<8>{program, weights, table});
  }
}

HWY_ATTR void FillNoiseOnTarget(const NoiseArea& area, float* out, size_t row_step, size_t column_step) {
#if HWY_NATIVE_FMA
  if (row_step == 1) {
    FillNoiseOfColumns(area, out, column_step);
  } else {
    FillNoiseOfRows(area, out, row_step);
  }
#else
  // One number at a time, by the definition.
  for (size_t row = 0; row < area.rows; ++row) {
    for (size_t column = 0; column < area.columns; ++column) {
      out[row * row_step + column * column_step] =
          static_cast<float>(StandardNormal(area.seed, area.first_row + row, column));
    }
  }
#endif
}

const char* TargetNameOnTarget() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace densityd::engine::cpu {

HWY_EXPORT(RunTileOnTarget);
HWY_EXPORT(RunFewRowsOnTarget);
HWY_EXPORT(FillNoiseOnTarget);
HWY_EXPORT(TargetNameOnTarget);

void RunTile(const Program& program, const Weights& weights, const TileTable& table) {
  HWY_DYNAMIC_DISPATCH(RunTileOnTarget)(program, weights, table);
}

void RunFewRows(const Program& program, const Weights& weights, const RowTable& table) {
  HWY_DYNAMIC_DISPATCH(RunFewRowsOnTarget)(program, weights, table);
}

void FillNoise(const NoiseArea& area, float* out, size_t row_step, size_t column_step) {
  HWY_DYNAMIC_DISPATCH(FillNoiseOnTarget)(area, out, row_step, column_step);
}

const char* TargetName() { return HWY_DYNAMIC_DISPATCH(TargetNameOnTarget)(); }

}  // namespace densityd::engine::cpu
#endif  // HWY_ONCE
