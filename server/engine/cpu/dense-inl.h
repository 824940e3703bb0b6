// Matrix products of the two layouts, with bias and activation. Included once per SIMD target.

#if defined(DENSITYD_ENGINE_CPU_DENSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_CPU_DENSE_INL_H_
#undef DENSITYD_ENGINE_CPU_DENSE_INL_H_
#else
#define DENSITYD_ENGINE_CPU_DENSE_INL_H_
#endif

#include <algorithm>

#include "hwy/highway.h"
#include "server/engine/cpu/activation-inl.h"
#include "server/engine/cpu/program.h"
#include "server/engine/cpu/table.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

/// Vectors of rows in the register block: 4 x 6 accumulators where there are 32 registers, 2 x 6 where there are 16.
inline constexpr size_t kBlockVectors = kLanes >= 16 ? 4 : 2;
/// Accumulators of the row layout: enough to hide the latency of the multiply-add, few enough for the registers.
inline constexpr size_t kFewRowsAccumulators = kLanes >= 16 ? 16 : 8;

/// kUnits outputs of kVectors * kLanes rows. `start` holds the biases, or is null: then the outputs go on from what
/// they hold.
template <size_t kVectors, size_t kUnits>
HWY_INLINE void PanelBlock(const Panel& panel, const float* HWY_RESTRICT input, const float* HWY_RESTRICT weights,
                           const float* HWY_RESTRICT start, bool relu, float* HWY_RESTRICT output) {
  const FloatTag d;
  FloatVector sums[kUnits][kVectors];
  for (size_t u = 0; u < kUnits; ++u) {
    for (size_t v = 0; v < kVectors; ++v) {
      sums[u][v] = start != nullptr ? hn::Set(d, start[u]) : hn::Load(d, output + u * kTileRows + v * kLanes);
    }
  }
  for (size_t k = 0; k < panel.depth; ++k, input += kTileRows, weights += kUnits) {
    FloatVector x[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) x[v] = hn::Load(d, input + v * kLanes);
#pragma GCC unroll 8
    for (size_t u = 0; u < kUnits; ++u) {
      const FloatVector w = hn::Set(d, weights[u]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sums[u][v] = hn::MulAdd(w, x[v], sums[u][v]);
    }
  }
  for (size_t u = 0; u < kUnits; ++u) {
    for (size_t v = 0; v < kVectors; ++v) {
      const FloatVector sum = Finish(sums[u][v], relu);
      hn::Store(sum, d, output + u * kTileRows + v * kLanes);
    }
  }
}

template <size_t kVectors>
HWY_NOINLINE void PanelRows(const Panel& panel, const float* input, const float* weights, const float* start, bool relu,
                            float* output) {
  switch (panel.units) {
    case 1:
      return PanelBlock<kVectors, 1>(panel, input, weights, start, relu, output);
    case 2:
      return PanelBlock<kVectors, 2>(panel, input, weights, start, relu, output);
    case 3:
      return PanelBlock<kVectors, 3>(panel, input, weights, start, relu, output);
    case 4:
      return PanelBlock<kVectors, 4>(panel, input, weights, start, relu, output);
    case 5:
      return PanelBlock<kVectors, 5>(panel, input, weights, start, relu, output);
    default:
      return PanelBlock<kVectors, 6>(panel, input, weights, start, relu, output);
  }
}

/// PanelRows for a number of vectors known at run time, at most kBlockVectors.
HWY_INLINE void PanelOfRows(size_t vectors, const Panel& panel, const float* input, const float* weights,
                            const float* start, bool relu, float* output) {
  if (vectors == kBlockVectors) return PanelRows<kBlockVectors>(panel, input, weights, start, relu, output);
  if constexpr (kBlockVectors > 2) {
    if (vectors == 3) return PanelRows<3>(panel, input, weights, start, relu, output);
    if (vectors == 2) return PanelRows<2>(panel, input, weights, start, relu, output);
  }
  PanelRows<1>(panel, input, weights, start, relu, output);
}

/// All panels of a step for `vectors` vectors of rows that begin `offset` numbers into each column.
HWY_INLINE void DensePanels(const Program& program, const DenseStep& step, const Weights& weights, float* table,
                            size_t offset, size_t vectors) {
  const bool relu = step.activation == ActivationKind::kRelu;
  for (uint32_t p = step.first_panel; p < step.first_panel + step.panel_count; ++p) {
    const Panel& panel = program.panels[p];
    float* output = table + (step.output + panel.first_unit) * kTileRows + offset;
    PanelOfRows(vectors, panel, table + (step.input + panel.first_input) * kTileRows + offset,
                weights.panels + panel.weights,
                step.accumulate ? nullptr : weights.biases + (step.bias + panel.first_unit), relu, output);
    if (!IsCheap(step.activation)) {
      ActivateTile(step.activation, output, output, panel.units, vectors * kLanes);
    }
  }
}

/// A dense step in the tile layout.
HWY_INLINE void DenseTile(const Program& program, const DenseStep& step, const Weights& weights, float* table,
                          size_t rows) {
  // Rows are the outer loop: a block of them stays in the first-level cache while the weights stream past.
  size_t vectors = (rows + kLanes - 1) / kLanes;
  for (size_t offset = 0; vectors > 0; offset += kBlockVectors * kLanes) {
    const size_t block = std::min(vectors, kBlockVectors);
    DensePanels(program, step, weights, table, offset, block);
    vectors -= block;
  }
}

/// kRows rows of kVectors * kLanes units that begin `unit` units into the strip. `inputs` lists the inputs that count,
/// or is null: all of them.
template <size_t kRows, size_t kVectors>
HWY_INLINE void StripBlock(const Strip& strip, const float* HWY_RESTRICT input, const float* HWY_RESTRICT weights,
                           const uint32_t* HWY_RESTRICT inputs, size_t depth, size_t stride,
                           FloatVector (&sums)[kRows][kVectors]) {
  const FloatTag d;
  for (size_t i = 0; i < depth; ++i) {
    const size_t k = inputs != nullptr ? inputs[i] : i;
    const float* HWY_RESTRICT line = weights + k * strip.width;
    FloatVector w[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) w[v] = hn::Load(d, line + v * kLanes);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      const FloatVector x = hn::Set(d, input[r * stride + k]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(w[v], x, sums[r][v]);
    }
  }
}

/// What a strip reads and writes.
struct StripArguments {
  const float* input;  ///< of the strip's first input, in the first row
  const float* weights;
  const float* biases;     ///< of the strip's first unit; null where the outputs go on from what they hold
  float* output;           ///< of the strip's first unit, in the first row
  const uint32_t* inputs;  ///< see StripBlock
  size_t depth;            ///< entries of `inputs`, or the strip's depth
  size_t stride;           ///< between rows
  size_t rectified;        ///< units, from the first on, that a ReLU follows
};

template <size_t kRows, size_t kVectors>
HWY_NOINLINE void StripUnits(const Strip& strip, const StripArguments& a, size_t unit) {
  const FloatTag d;
  FloatVector sums[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = unit + v * kLanes;
      sums[r][v] = a.biases != nullptr
                       ? hn::LoadU(d, a.biases + at)
                       : LoadPart(a.output + r * a.stride + at, strip.units - std::min<size_t>(at, strip.units));
    }
  }
  StripBlock<kRows, kVectors>(strip, a.input, a.weights + unit, a.inputs, a.depth, a.stride, sums);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = unit + v * kLanes;
      if (at >= strip.units) break;
      const FloatVector sum = Finish(sums[r][v], false);
      const FloatVector value = a.rectified <= at ? sum : hn::IfThenElse(FirstLanes(a.rectified - at), Relu(sum), sum);
      StorePart(value, a.output + r * a.stride + at, strip.units - at);
    }
  }
}

/// A strip for kRows rows, as many units at a time as there are registers for.
template <size_t kRows>
HWY_INLINE void StripRows(const Strip& strip, const StripArguments& arguments) {
  constexpr size_t kVectors = std::clamp<size_t>(kFewRowsAccumulators / kRows, 1, 8);
  size_t unit = 0;
  for (; unit + kVectors * kLanes <= strip.width; unit += kVectors * kLanes) {
    StripUnits<kRows, kVectors>(strip, arguments, unit);
  }
  if constexpr (kVectors > 4) {
    for (; unit + 4 * kLanes <= strip.width; unit += 4 * kLanes) StripUnits<kRows, 4>(strip, arguments, unit);
  }
  if constexpr (kVectors > 2) {
    for (; unit + 2 * kLanes <= strip.width; unit += 2 * kLanes) StripUnits<kRows, 2>(strip, arguments, unit);
  }
  for (; unit < strip.width; unit += kLanes) StripUnits<kRows, 1>(strip, arguments, unit);
}

/// Indices of the numbers in `input` that are not zero, ascending. A NaN is not zero. `inputs` has room for `depth`
/// rounded up to whole vectors, and so many numbers can be read from `input`.
HWY_INLINE size_t NonZeroInputs(const float* input, size_t depth, uint32_t* inputs) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> du;
  size_t count = 0;
  for (size_t k = 0; k < depth; k += kLanes) {
    const auto counts = hn::And(hn::FirstN(d, depth - k), hn::Ne(hn::LoadU(d, input + k), hn::Zero(d)));
    const auto indices = hn::Iota(du, static_cast<uint32_t>(k));
    hn::StoreU(hn::Compress(indices, hn::RebindMask(du, counts)), du, inputs + count);
    count += hn::CountTrue(d, counts);
  }
  return count;
}

/// A dense step in the row layout for kRows rows.
template <size_t kRows>
HWY_INLINE void DenseRows(const Program& program, const DenseStep& step, const Weights& weights,
                          const RowTable& table) {
  // Skipping an exact zero leaves every sum as it is, so one row costs only the inputs that a ReLU let through. Looking
  // for them is not worth it where there is little to skip.
  const bool is_small = step.strip_count == 1 && program.strips[step.first_strip].depth < kColumnPadding;
  const bool skip = kRows == 1 && step.sparse_input && step.strip_count > 0 && !is_small;
  size_t non_zero = 0;
  if (skip) {
    // The last strip reaches furthest: units ascend by degree.
    const Strip& last = program.strips[step.first_strip + step.strip_count - 1];
    non_zero = NonZeroInputs(table.numbers + step.input + last.first_input, last.depth, table.inputs);
  }
  for (uint32_t s = step.first_strip; s < step.first_strip + step.strip_count; ++s) {
    const Strip& strip = program.strips[s];
    const size_t activated =
        std::clamp<size_t>(step.activated, strip.first_unit, strip.first_unit + strip.units) - strip.first_unit;
    StripArguments arguments = {table.numbers + step.input + strip.first_input,
                                weights.strips + strip.weights,
                                step.accumulate ? nullptr : weights.biases + (step.bias + strip.first_unit),
                                table.numbers + step.output + strip.first_unit,
                                nullptr,
                                strip.depth,
                                table.stride,
                                step.activation == ActivationKind::kRelu ? activated : 0};
    if (skip) {
      arguments.inputs = table.inputs;
      arguments.depth = std::lower_bound(table.inputs, table.inputs + non_zero, strip.depth) - table.inputs;
    }
    StripRows<kRows>(strip, arguments);
    if (!IsCheap(step.activation)) {
      for (size_t r = 0; r < kRows; ++r) {
        ActivateRow(step.activation, arguments.output + r * table.stride, arguments.output + r * table.stride,
                    activated);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_DENSE_INL_H_
