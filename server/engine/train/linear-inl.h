// The three products of a linear layer: by the weights, by their transpose, and the gradient by the weights. Included
// once per SIMD target.
//
// Each number has one accumulator and one fused multiply-add per term, in ascending order of the sum's index.

#if defined(DENSITYD_ENGINE_TRAIN_LINEAR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_TRAIN_LINEAR_INL_H_
#undef DENSITYD_ENGINE_TRAIN_LINEAR_INL_H_
#else
#define DENSITYD_ENGINE_TRAIN_LINEAR_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "server/engine/cpu/activation-inl.h"
#include "server/engine/cpu/vectors-inl.h"
#include "server/engine/train/maps-inl.h"
#include "server/engine/train/program.h"
#include "server/engine/train/shard.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::train {
namespace HWY_NAMESPACE {

/// Vectors of rows in a register block: 4 x 6 accumulators where there are 32 registers, 2 x 6 where there are 16.
inline constexpr size_t kRowVectors = kLanes >= 16 ? 4 : 2;
inline constexpr size_t kRowsAtOnce = kRowVectors * kLanes;
/// Vectors of a panel's inputs, and panels of a block of the weights' gradient.
inline constexpr size_t kPanelVectors = kPanelInputs / kLanes;
inline constexpr size_t kBlockPanels = kLanes >= 16 ? 4 : 1;
/// Rows, or units, between two looks ahead.
inline constexpr size_t kPieceRows = 16;

/// Calls `block` with the number as a constant: 1 … kBlockUnits.
template <class Block>
HWY_INLINE void WithCount(size_t count, const Block& block) {
  switch (count) {
    case 1:
      return block.template Run<1>();
    case 2:
      return block.template Run<2>();
    case 3:
      return block.template Run<3>();
    case 4:
      return block.template Run<4>();
    case 5:
      return block.template Run<5>();
    default:
      return block.template Run<6>();
  }
}

/// A chunk of units of one tile.
struct ForwardBlock {
  const LinearStep& step;
  const UnitChunk& chunk;
  const float* parameters;
  const Tile& tile;

  template <size_t kUnits>
  HWY_INLINE void Run() const {
    for (size_t row = 0; row < kTileRows; row += kRowsAtOnce) Rows<kUnits>(row);
  }

  template <size_t kUnits>
  HWY_INLINE void Rows(size_t row) const {
    const FloatTag d;
    const Linear& linear = step.linear;
    const size_t reach = chunk.reach;
    const size_t panel_step = linear.panel_step;
    const bool accumulates = step.accumulates;
    const bool relu = step.relu;
    float* HWY_RESTRICT out = tile.values + (step.out.value + chunk.first) * kTileRows + row;
    const float* HWY_RESTRICT bias = linear.bias == kNowhere ? nullptr : parameters + linear.bias + chunk.first;
    FloatVector sums[kUnits][kRowVectors];
#pragma GCC unroll 8
    for (size_t u = 0; u < kUnits; ++u) {
      const FloatVector start = bias == nullptr ? hn::Zero(d) : hn::Set(d, bias[u]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kRowVectors; ++v) sums[u][v] = start;
    }
    if (accumulates) {
#pragma GCC unroll 8
      for (size_t u = 0; u < kUnits; ++u) {
#pragma GCC unroll 8
        for (size_t v = 0; v < kRowVectors; ++v) {
          sums[u][v] = hn::Add(hn::Load(d, out + u * kTileRows + v * kLanes), sums[u][v]);
        }
      }
    }
    const float* HWY_RESTRICT in = tile.values + step.in.value * kTileRows + row;
    const float* panel = parameters + linear.weights + chunk.first * kPanelInputs;
    for (size_t first = 0; first < reach; first += kPanelInputs, panel += panel_step) {
      const float* HWY_RESTRICT weights = panel;
      // The next chunk's: each panel is elsewhere, which hardware does not foresee.
#pragma GCC unroll 8
      for (size_t u = 0; u < kUnits; ++u) __builtin_prefetch(panel + (kUnits + u) * kPanelInputs);
      const size_t width = std::min<size_t>(kPanelInputs, reach - first);
      for (size_t k = 0; k < width; ++k, in += kTileRows, ++weights) {
        FloatVector x[kRowVectors];
#pragma GCC unroll 8
        for (size_t v = 0; v < kRowVectors; ++v) x[v] = hn::Load(d, in + v * kLanes);
#pragma GCC unroll 8
        for (size_t u = 0; u < kUnits; ++u) {
          const FloatVector w = hn::Set(d, weights[u * kPanelInputs]);
#pragma GCC unroll 8
          for (size_t v = 0; v < kRowVectors; ++v) sums[u][v] = hn::MulAdd(w, x[v], sums[u][v]);
        }
      }
    }
    if (relu) {
#pragma GCC unroll 8
      for (size_t u = 0; u < kUnits; ++u) {
#pragma GCC unroll 8
        for (size_t v = 0; v < kRowVectors; ++v) sums[u][v] = cpu::HWY_NAMESPACE::Relu(sums[u][v]);
      }
    }
#pragma GCC unroll 8
    for (size_t u = 0; u < kUnits; ++u) {
#pragma GCC unroll 8
      for (size_t v = 0; v < kRowVectors; ++v) hn::Store(sums[u][v], d, out + u * kTileRows + v * kLanes);
    }
  }
};

inline HWY_NOINLINE void RunForwardBlock(const ForwardBlock& block) { WithCount(block.chunk.units, block); }

/// out = W in + b for all tiles.
HWY_INLINE void LinearForward(const LinearStep& step, const float* parameters, const Shard& shard) {
  // Tiles are the inner loop: a chunk's weights stay in the first-level cache.
  for (const UnitChunk& chunk : step.linear.unit_chunks) {
    for (const Tile& tile : shard.tiles) RunForwardBlock({step, chunk, parameters, tile});
  }
}

/// The gradient by a chunk of inputs of one tile.
struct BackwardBlock {
  const LinearStep& step;
  const InputChunk& chunk;
  const float* parameters;
  const Tile& tile;

  template <size_t kInputs>
  HWY_INLINE void Run() const {
    for (size_t row = 0; row < kTileRows; row += kRowsAtOnce) Rows<kInputs>(row);
  }

  template <size_t kInputs>
  HWY_INLINE void Rows(size_t row) const {
    const FloatTag d;
    const Linear& linear = step.linear;
    const bool input_is_relu = step.input_is_relu;
    const bool adds = step.adds;
    const size_t units = linear.units;
    float* HWY_RESTRICT gradient = tile.gradients + (step.in.gradient + chunk.first) * kTileRows + row;
    const float* HWY_RESTRICT value = tile.values + (step.in.value + chunk.first) * kTileRows + row;
    FloatVector sums[kInputs][kRowVectors];
#pragma GCC unroll 8
    for (size_t i = 0; i < kInputs; ++i) {
#pragma GCC unroll 8
      for (size_t v = 0; v < kRowVectors; ++v) sums[i][v] = hn::Zero(d);
    }
    const float* HWY_RESTRICT from = tile.gradients + (step.out.gradient + chunk.first_unit) * kTileRows + row;
    const float* HWY_RESTRICT weights = parameters + linear.weights + chunk.first / kPanelInputs * linear.panel_step +
                                        chunk.first_unit * kPanelInputs + chunk.first % kPanelInputs;
    size_t next_input = input_is_relu ? 0 : kInputs;
    for (size_t begin = chunk.first_unit; begin < units; begin += kPieceRows) {
      // What decides about the gradient has left the caches since it was computed.
      if (next_input < kInputs) {
#pragma GCC unroll 8
        for (size_t v = 0; v < kRowVectors; ++v) __builtin_prefetch(value + next_input * kTileRows + v * kLanes);
        ++next_input;
      }
      const size_t end = std::min(begin + kPieceRows, units);
      for (size_t n = begin; n < end; ++n, from += kTileRows, weights += kPanelInputs) {
        FloatVector y[kRowVectors];
#pragma GCC unroll 8
        for (size_t v = 0; v < kRowVectors; ++v) y[v] = hn::Load(d, from + v * kLanes);
#pragma GCC unroll 8
        for (size_t i = 0; i < kInputs; ++i) {
          const FloatVector w = hn::Set(d, weights[i]);
#pragma GCC unroll 8
          for (size_t v = 0; v < kRowVectors; ++v) sums[i][v] = hn::MulAdd(w, y[v], sums[i][v]);
        }
      }
    }
    if (adds) {
#pragma GCC unroll 8
      for (size_t i = 0; i < kInputs; ++i) {
#pragma GCC unroll 8
        for (size_t v = 0; v < kRowVectors; ++v) {
          sums[i][v] = hn::Add(hn::Load(d, gradient + i * kTileRows + v * kLanes), sums[i][v]);
        }
      }
    }
    if (input_is_relu) {
#pragma GCC unroll 8
      for (size_t i = 0; i < kInputs; ++i) {
#pragma GCC unroll 8
        for (size_t v = 0; v < kRowVectors; ++v) {
          const auto passes = hn::Gt(hn::Load(d, value + i * kTileRows + v * kLanes), hn::Zero(d));
          sums[i][v] = hn::IfThenElseZero(passes, sums[i][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < kInputs; ++i) {
#pragma GCC unroll 8
      for (size_t v = 0; v < kRowVectors; ++v) hn::Store(sums[i][v], d, gradient + i * kTileRows + v * kLanes);
    }
  }
};

inline HWY_NOINLINE void RunBackwardBlock(const BackwardBlock& block) { WithCount(block.chunk.inputs, block); }

/// The gradients by the inputs, of all tiles.
HWY_INLINE void LinearBackward(const LinearStep& step, const float* parameters, const Shard& shard) {
  for (const InputChunk& chunk : step.linear.input_chunks) {
    for (const Tile& tile : shard.tiles) RunBackwardBlock({step, chunk, parameters, tile});
  }
}

#if HWY_TARGET != HWY_SCALAR
/// 4 columns to the first 4 numbers of each row.
HWY_INLINE void TransposeQuads(const float* HWY_RESTRICT in, float* HWY_RESTRICT out) {
  const FloatTag d;
  const hn::FixedTag<float, 4> four;
  HWY_ALIGN float quads[4 * kLanes];
  for (size_t r = 0; r < kTileRows; r += kLanes) {
    const FloatVector a = hn::Load(d, in + r);
    const FloatVector b = hn::Load(d, in + kTileRows + r);
    const FloatVector c = hn::Load(d, in + 2 * kTileRows + r);
    const FloatVector e = hn::Load(d, in + 3 * kTileRows + r);
    // Within each four lanes a 4 x 4 transpose: twice pairs are interleaved.
    const FloatVector ac_low = hn::InterleaveLower(d, a, c);
    const FloatVector ac_high = hn::InterleaveUpper(d, a, c);
    const FloatVector be_low = hn::InterleaveLower(d, b, e);
    const FloatVector be_high = hn::InterleaveUpper(d, b, e);
    hn::Store(hn::InterleaveLower(d, ac_low, be_low), d, quads);
    hn::Store(hn::InterleaveUpper(d, ac_low, be_low), d, quads + kLanes);
    hn::Store(hn::InterleaveLower(d, ac_high, be_high), d, quads + 2 * kLanes);
    hn::Store(hn::InterleaveUpper(d, ac_high, be_high), d, quads + 3 * kLanes);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float* quad = quads + lane % 4 * kLanes + lane / 4 * 4;
      hn::Store(hn::Load(four, quad), four, out + (r + lane) * kGroupInputs);
    }
  }
}
#endif

/// Up to kGroupInputs neighbouring columns of each tile to rows: number (k, r) to to[r][k], with rows of kGroupInputs.
/// Columns are read up to a multiple of 4.
HWY_INLINE void TransposeGroup(Column first, size_t columns, const Shard& shard) {
  float* to = shard.transposed;
  for (const Tile& tile : shard.tiles) {
    const float* from = tile.values + first * kTileRows;
    for (size_t k = 0; k < columns; k += 4) {
#if HWY_TARGET == HWY_SCALAR
      for (size_t i = 0; i < 4 * kTileRows; ++i) {
        to[i % kTileRows * kGroupInputs + k + i / kTileRows] = from[k * kTileRows + i];
      }
#else
      TransposeQuads(from + k * kTileRows, to + k);
#endif
    }
    to += kTileRows * kGroupInputs;
  }
}

/// The gradient by the weights between a chunk of units and kPanels panels of inputs.
template <size_t kPanels>
struct WeightBlock {
  const LinearStep& step;
  const UnitChunk& chunk;
  size_t first_input;
  const Shard& shard;
  float* gradient;

  template <size_t kUnits>
  HWY_INLINE void Run() const {
    constexpr size_t kVectors = kPanels * kPanelVectors;
    const FloatTag d;
    const Linear& linear = step.linear;
    const bool adds = shard.adds;
    const size_t panel_step = linear.panel_step;
    float* HWY_RESTRICT to =
        gradient + linear.weights + first_input / kPanelInputs * panel_step + chunk.first * kPanelInputs;
    // Where the gradients by vector v of the inputs begin, of the chunk's first unit.
    size_t at[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) at[v] = v / kPanelVectors * panel_step + v % kPanelVectors * kLanes;
    FloatVector sums[kUnits][kVectors];
#pragma GCC unroll 8
    for (size_t u = 0; u < kUnits; ++u) {
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sums[u][v] = hn::Zero(d);
    }
    const float* HWY_RESTRICT in = shard.transposed + first_input % kGroupInputs;
    size_t next_line = 0;
    for (const Tile& tile : shard.tiles) {
      const float* HWY_RESTRICT from = tile.gradients + (step.out.gradient + chunk.first) * kTileRows;
      for (size_t begin = 0; begin < kTileRows; begin += kPieceRows) {
        // Where the sums go has left the caches since the rows before these. Asked for little by little, so that what
        // is needed now need not wait.
        if (next_line < kPanels) {
#pragma GCC unroll 8
          for (size_t u = 0; u < kUnits; ++u) __builtin_prefetch(to + next_line * panel_step + u * kPanelInputs, 1);
          ++next_line;
        }
        for (size_t r = 0; r < kPieceRows; ++r, in += kGroupInputs, ++from) {
          FloatVector x[kVectors];
#pragma GCC unroll 8
          for (size_t v = 0; v < kVectors; ++v) x[v] = hn::Load(d, in + v * kLanes);
#pragma GCC unroll 8
          for (size_t u = 0; u < kUnits; ++u) {
            const FloatVector y = hn::Set(d, from[u * kTileRows]);
#pragma GCC unroll 8
            for (size_t v = 0; v < kVectors; ++v) sums[u][v] = hn::MulAdd(y, x[v], sums[u][v]);
          }
        }
      }
    }
    if (adds) {
#pragma GCC unroll 8
      for (size_t u = 0; u < kUnits; ++u) {
#pragma GCC unroll 8
        for (size_t v = 0; v < kVectors; ++v) {
          sums[u][v] = hn::Add(hn::Load(d, to + at[v] + u * kPanelInputs), sums[u][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (size_t u = 0; u < kUnits; ++u) {
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) hn::Store(sums[u][v], d, to + at[v] + u * kPanelInputs);
    }
  }
};

template <size_t kPanels>
HWY_NOINLINE void RunWeightBlock(const WeightBlock<kPanels>& block) {
  WithCount(block.chunk.units, block);
}

/// Zeros where a mask has them among the panels that begin before `end`, from `first_input` on.
HWY_INLINE void ClearMasked(const Linear& linear, const UnitChunk& chunk, size_t first_input, size_t end,
                            float* gradient) {
  for (size_t n = chunk.first; n < chunk.first + chunk.units; ++n) {
    for (size_t k = std::max<size_t>(first_input, linear.reach[n]); k < end; ++k) {
      gradient[linear.weights + k / kPanelInputs * linear.panel_step + n * kPanelInputs + k % kPanelInputs] = 0;
    }
  }
}

/// The gradients by the weights of kBlockPanels panels of inputs that stand transposed.
HWY_INLINE void PanelsGradient(const LinearStep& step, size_t first, const Shard& shard, float* gradient) {
  for (const UnitChunk& chunk : step.linear.unit_chunks) {
    if (chunk.reach <= first) continue;
    const size_t panels = std::min(kBlockPanels, (chunk.reach - first + kPanelInputs - 1) / kPanelInputs);
    if (panels == kBlockPanels) {
      RunWeightBlock(WeightBlock<kBlockPanels>{step, chunk, first, shard, gradient});
    } else if (panels == 3) {
      RunWeightBlock(WeightBlock<HWY_MIN(kBlockPanels, 3)>{step, chunk, first, shard, gradient});
    } else if (panels == 2) {
      RunWeightBlock(WeightBlock<HWY_MIN(kBlockPanels, 2)>{step, chunk, first, shard, gradient});
    } else {
      RunWeightBlock(WeightBlock<1>{step, chunk, first, shard, gradient});
    }
    ClearMasked(step.linear, chunk, first, first + panels * kPanelInputs, gradient);
  }
}

HWY_INLINE void WeightGradient(const LinearStep& step, const Shard& shard, float* gradient) {
  const size_t inputs = step.linear.inputs;
  for (size_t group = 0; group < inputs; group += kGroupInputs) {
    const size_t end = std::min(group + kGroupInputs, inputs);
    TransposeGroup(step.in.value + static_cast<Column>(group), end - group, shard);
    for (size_t first = group; first < end; first += kBlockPanels * kPanelInputs) {
      PanelsGradient(step, first, shard, gradient);
    }
  }
}

HWY_INLINE void BiasGradient(const LinearStep& step, const Shard& shard, float* gradient) {
  if (step.linear.bias == kNowhere) return;
  const FloatTag d;
  for (size_t unit = 0; unit < step.linear.units; ++unit) {
    FloatVector sum = hn::Zero(d);
    for (const Tile& tile : shard.tiles) {
      const float* from = tile.gradients + (step.out.gradient + unit) * kTileRows;
      for (size_t r = 0; r < kTileRows; r += kLanes) sum = hn::Add(sum, hn::Load(d, from + r));
    }
    SetSum(sum, shard.adds, gradient[step.linear.bias + unit]);
  }
}

/// The gradients by weights, bias and inputs.
HWY_INLINE void BackwardOf(const LinearStep& step, const float* parameters, const Shard& shard, float* gradient) {
  WeightGradient(step, shard, gradient);
  BiasGradient(step, shard, gradient);
  if (step.in.has_gradient()) LinearBackward(step, parameters, shard);
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_TRAIN_LINEAR_INL_H_
