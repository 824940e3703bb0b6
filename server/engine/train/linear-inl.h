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
    float* HWY_RESTRICT out = tile.values + (step.out.value + chunk.first) * kTileRows + row;
    FloatVector sums[kUnits][kRowVectors];
    for (size_t u = 0; u < kUnits; ++u) {
      const FloatVector bias =
          linear.bias == kNowhere ? hn::Zero(d) : hn::Set(d, parameters[linear.bias + chunk.first + u]);
      for (size_t v = 0; v < kRowVectors; ++v) {
        sums[u][v] = step.accumulates ? hn::Add(hn::Load(d, out + u * kTileRows + v * kLanes), bias) : bias;
      }
    }
    const float* HWY_RESTRICT in = tile.values + step.in.value * kTileRows + row;
    const float* panel = parameters + linear.weights + chunk.first * kPanelInputs;
    for (size_t first = 0; first < chunk.reach; first += kPanelInputs, panel += linear.panel_step) {
      const float* HWY_RESTRICT weights = panel;
      const size_t width = std::min<size_t>(kPanelInputs, chunk.reach - first);
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
    for (size_t u = 0; u < kUnits; ++u) {
      for (size_t v = 0; v < kRowVectors; ++v) {
        const FloatVector sum = step.relu ? cpu::HWY_NAMESPACE::Relu(sums[u][v]) : sums[u][v];
        hn::Store(sum, d, out + u * kTileRows + v * kLanes);
      }
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
    float* HWY_RESTRICT gradient = tile.gradients + (step.in.gradient + chunk.first) * kTileRows + row;
    const float* value = tile.values + (step.in.value + chunk.first) * kTileRows + row;
    FloatVector sums[kInputs][kRowVectors];
    for (size_t i = 0; i < kInputs; ++i) {
      for (size_t v = 0; v < kRowVectors; ++v) {
        const size_t at = i * kTileRows + v * kLanes;
        // What decides about the gradient has left the caches since it was computed.
        if (step.input_is_relu) __builtin_prefetch(value + at);
        sums[i][v] = step.adds ? hn::Load(d, gradient + at) : hn::Zero(d);
      }
    }
    const float* HWY_RESTRICT from = tile.gradients + (step.out.gradient + chunk.first_unit) * kTileRows + row;
    const float* HWY_RESTRICT weights = parameters + linear.weights + chunk.first / kPanelInputs * linear.panel_step +
                                        chunk.first_unit * kPanelInputs + chunk.first % kPanelInputs;
    for (size_t n = chunk.first_unit; n < linear.units; ++n, from += kTileRows, weights += kPanelInputs) {
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
    for (size_t i = 0; i < kInputs; ++i) {
      for (size_t v = 0; v < kRowVectors; ++v) {
        const size_t at = i * kTileRows + v * kLanes;
        FloatVector sum = sums[i][v];
        if (step.input_is_relu) sum = hn::IfThenElseZero(hn::Gt(hn::Load(d, value + at), hn::Zero(d)), sum);
        hn::Store(sum, d, gradient + at);
      }
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

/// Rows of `columns` neighbouring columns to rows of numbers: number (k, r) of a tile to
/// to[k / 64][first_row + r][k % 64] of `rows` rows in all. Columns are read up to a multiple of 4.
HWY_INLINE void TransposeTile(const float* HWY_RESTRICT from, size_t columns, size_t first_row, size_t rows,
                              float* HWY_RESTRICT to) {
  for (size_t k = 0; k < columns; k += 4) {
    const float* in = from + k * kTileRows;
    float* out = to + (k / kGroupInputs * rows + first_row) * kGroupInputs + k % kGroupInputs;
#if HWY_TARGET == HWY_SCALAR
    for (size_t i = 0; i < 4 * kTileRows; ++i) out[i % kTileRows * kGroupInputs + i / kTileRows] = in[i];
#else
    TransposeQuads(in, out);
#endif
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
    const size_t rows = shard.tiles.size() * kTileRows;
    const float* HWY_RESTRICT in =
        shard.transposed + first_input / kGroupInputs * rows * kGroupInputs + first_input % kGroupInputs;
    FloatVector sums[kUnits][kVectors];
    for (size_t u = 0; u < kUnits; ++u) {
      for (size_t v = 0; v < kVectors; ++v) sums[u][v] = shard.adds ? hn::Load(d, At(u, v)) : hn::Zero(d);
    }
    for (const Tile& tile : shard.tiles) {
      const float* HWY_RESTRICT from = tile.gradients + (step.out.gradient + chunk.first) * kTileRows;
      for (size_t r = 0; r < kTileRows; ++r, in += kGroupInputs, ++from) {
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
    for (size_t u = 0; u < kUnits; ++u) {
      for (size_t v = 0; v < kVectors; ++v) hn::Store(sums[u][v], d, At(u, v));
    }
  }

  /// Where the gradients by vector v of the inputs go, of unit u of the chunk.
  HWY_INLINE float* At(size_t u, size_t v) const {
    const Linear& linear = step.linear;
    const size_t panel = first_input / kPanelInputs + v / kPanelVectors;
    return gradient + linear.weights + panel * linear.panel_step + (chunk.first + u) * kPanelInputs +
           v % kPanelVectors * kLanes;
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

HWY_INLINE void WeightGradient(const LinearStep& step, const Shard& shard, float* gradient) {
  constexpr size_t kBlockInputs = kBlockPanels * kPanelInputs;
  for (size_t first = 0; first < step.linear.inputs; first += kBlockInputs) {
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
  const size_t rows = shard.tiles.size() * kTileRows;
  for (size_t t = 0; t < shard.tiles.size(); ++t) {
    TransposeTile(shard.tiles[t].values + step.in.value * kTileRows, step.linear.inputs, t * kTileRows, rows,
                  shard.transposed);
  }
  WeightGradient(step, shard, gradient);
  BiasGradient(step, shard, gradient);
  if (step.in.has_gradient()) LinearBackward(step, parameters, shard);
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::train
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_TRAIN_LINEAR_INL_H_
