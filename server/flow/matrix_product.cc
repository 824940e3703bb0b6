#include "server/flow/matrix_product.h"

#include <algorithm>
#include <cstring>

// What is worth a code path of its own: everything else runs the portable one.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "server/flow/matrix_product.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway asks.
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::flow {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using FloatVector = hn::Vec<FloatTag>;
constexpr size_t kLanes = HWY_LANES(float);

// The register block: 6 x 4 accumulators where there are 32 registers, 6 x 2 where there are 16.
constexpr size_t kBlockRows = 6;
constexpr size_t kBlockVectors = kLanes >= 16 ? 4 : 2;
// Columns that are packed side by side.
constexpr size_t kPanelColumns = kBlockVectors * kLanes;
// Deeper panels leave the second-level cache between two blocks of rows.
constexpr size_t kDepthBlock = 512;
// Numbers between the depths of `right` up to which it may be read in place.
constexpr size_t kMaxReadStep = 512;
// Rows of `left` that stay in the second-level cache while all panels pass.
constexpr size_t kCachedRows = 192;

#if HWY_TARGET <= HWY_AVX2
constexpr bool kHasMaskedMemory = true;
#else
constexpr bool kHasMaskedMemory = false;
#endif

// The first `count` numbers at `from`, or all lanes where there are more.
HWY_INLINE FloatVector LoadPart(const float* from, size_t count) {
  const FloatTag d;
  if (count >= kLanes) return hn::LoadU(d, from);
  if constexpr (kHasMaskedMemory) return hn::MaskedLoad(hn::FirstN(d, count), d, from);
  HWY_ALIGN float lanes[kLanes] = {};
  std::memcpy(lanes, from, count * sizeof(float));
  return hn::Load(d, lanes);
}

HWY_INLINE void StorePart(FloatVector vector, float* to, size_t count) {
  const FloatTag d;
  if (count >= kLanes) return hn::StoreU(vector, d, to);
  if constexpr (kHasMaskedMemory) return hn::BlendedStore(vector, hn::FirstN(d, count), d, to);
  HWY_ALIGN float lanes[kLanes];
  hn::Store(vector, d, lanes);
  std::memcpy(to, lanes, count * sizeof(float));
}

// Columns first … first + count - 1: `vectors` vectors at each depth.
struct Panel {
  size_t first;
  size_t count;
  size_t vectors;
  IndexRange depth;
  IndexRange rows;
  const float* right;  // at depth 0
  size_t right_step;   // between depths
};

// The smallest range that holds those of `count` columns.
HWY_INLINE IndexRange Union(const IndexRange* ranges, size_t count, size_t all) {
  if (ranges == nullptr) return {0, static_cast<int32_t>(all)};
  IndexRange sum = {0, 0};
  for (size_t i = 0; i < count; ++i) {
    if (ranges[i].begin >= ranges[i].end) continue;
    const bool is_first = sum.begin >= sum.end;
    sum.begin = is_first ? ranges[i].begin : std::min(sum.begin, ranges[i].begin);
    sum.end = is_first ? ranges[i].end : std::max(sum.end, ranges[i].end);
  }
  return sum;
}

// Whole panels whose lines stay in the second-level cache are read where they are.
bool IsPacked(const MatrixProduct& product, size_t columns) {
  return product.right_column_step != 1 || columns < kPanelColumns || product.right_depth_step > kMaxReadStep;
}

Panel PanelAt(const MatrixProduct& product, const float* packed, size_t first) {
  Panel panel;
  panel.first = first;
  panel.count = std::min(kPanelColumns, product.columns - first);
  panel.vectors = (panel.count + kLanes - 1) / kLanes;
  const auto of_panel = [first](const IndexRange* ranges) { return ranges == nullptr ? nullptr : ranges + first; };
  panel.depth = Union(of_panel(product.depth_of_column), panel.count, product.depth);
  panel.rows = Union(of_panel(product.rows_of_column), panel.count, product.rows);
  const bool is_packed = IsPacked(product, panel.count);
  panel.right = is_packed ? packed + first * product.depth : product.right + first;
  panel.right_step = is_packed ? panel.vectors * kLanes : product.right_depth_step;
  return panel;
}

// Four columns of four depths, from memory in which depths are neighbours.
HWY_INLINE void Transpose4(const float* from, size_t column_step, float* to, size_t width) {
#if HWY_TARGET == HWY_SCALAR
  for (size_t k = 0; k < 4; ++k) {
    for (size_t j = 0; j < 4; ++j) to[k * width + j] = from[j * column_step + k];
  }
#else
  const hn::FixedTag<float, 4> d;
  const auto a = hn::LoadU(d, from);
  const auto b = hn::LoadU(d, from + column_step);
  const auto e = hn::LoadU(d, from + 2 * column_step);
  const auto f = hn::LoadU(d, from + 3 * column_step);
  const auto ab_low = hn::InterleaveLower(d, a, b);
  const auto ab_high = hn::InterleaveUpper(d, a, b);
  const auto ef_low = hn::InterleaveLower(d, e, f);
  const auto ef_high = hn::InterleaveUpper(d, e, f);
  hn::StoreU(hn::ConcatLowerLower(d, ef_low, ab_low), d, to);
  hn::StoreU(hn::ConcatUpperUpper(d, ef_low, ab_low), d, to + width);
  hn::StoreU(hn::ConcatLowerLower(d, ef_high, ab_high), d, to + 2 * width);
  hn::StoreU(hn::ConcatUpperUpper(d, ef_high, ab_high), d, to + 3 * width);
#endif
}

HWY_ATTR void PackRows(const MatrixProduct& product, const Panel& panel, float* packed) {
  const FloatTag d;
  for (int32_t k = panel.depth.begin; k < panel.depth.end; ++k) {
    const float* from = product.right + k * product.right_depth_step + panel.first;
    float* to = packed + k * panel.vectors * kLanes;
    for (size_t v = 0; v < panel.vectors; ++v) {
      hn::StoreU(LoadPart(from + v * kLanes, panel.count - v * kLanes), d, to + v * kLanes);
    }
  }
}

HWY_ATTR void PackColumns(const MatrixProduct& product, const Panel& panel, float* packed) {
  const size_t width = panel.vectors * kLanes;
  const size_t begin = panel.depth.begin;
  const size_t end = panel.depth.end;
  const size_t whole_columns = panel.count / 4 * 4;
  const size_t whole_end = begin + (end - begin) / 4 * 4;
  const float* from = product.right + panel.first * product.right_column_step;
  for (size_t j = 0; j < whole_columns; j += 4) {
    for (size_t k = begin; k < whole_end; k += 4) {
      Transpose4(from + j * product.right_column_step + k, product.right_column_step, packed + k * width + j, width);
    }
    for (size_t k = whole_end; k < end; ++k) {
      for (size_t i = j; i < j + 4; ++i) packed[k * width + i] = from[i * product.right_column_step + k];
    }
  }
  for (size_t k = begin; k < end; ++k) {
    for (size_t j = whole_columns; j < width; ++j) {
      packed[k * width + j] = j < panel.count ? from[j * product.right_column_step + k] : 0;
    }
  }
}

HWY_ATTR void PackRightOnTarget(const MatrixProduct& product, float* packed) {
  for (size_t first = 0; first < product.columns; first += kPanelColumns) {
    const Panel panel = PanelAt(product, packed, first);
    if (!IsPacked(product, panel.count)) continue;
    if (product.right_column_step == 1) {
      PackRows(product, panel, packed + first * product.depth);
    } else {
      PackColumns(product, panel, packed + first * product.depth);
    }
  }
}

// One register block: kRows rows, from `row` on, of kVectors vectors of columns, for depths begin … end - 1.
template <size_t kRows, size_t kVectors>
HWY_NOINLINE void Block(const MatrixProduct& product, const Panel& panel, size_t row, size_t begin, size_t end) {
  const FloatTag d;
  const bool is_first = begin == static_cast<size_t>(panel.depth.begin);
  const bool is_last = end == static_cast<size_t>(panel.depth.end);
  float* HWY_RESTRICT out = product.out + row * product.columns + panel.first;
  FloatVector sums[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      if (!is_first) {
        sums[r][v] = LoadPart(out + r * product.columns + v * kLanes, panel.count - v * kLanes);
      } else if (product.bias != nullptr) {
        sums[r][v] = LoadPart(product.bias + panel.first + v * kLanes, panel.count - v * kLanes);
      } else {
        sums[r][v] = hn::Zero(d);
      }
    }
  }
  // Or the stores at the end would wait for memory.
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) hwy::Prefetch(out + r * product.columns + v * kLanes);
  }
  const size_t row_step = product.left_row_step;
  const size_t depth_step = product.left_depth_step;
  const float* HWY_RESTRICT left = product.left + row * row_step + begin * depth_step;
  const size_t right_step = panel.right_step;
  const float* HWY_RESTRICT right = panel.right + begin * right_step;
  for (size_t k = begin; k < end; ++k, left += depth_step, right += right_step) {
    FloatVector b[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) b[v] = hn::LoadU(d, right + v * kLanes);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      const FloatVector a = hn::Set(d, left[r * row_step]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(a, b[v], sums[r][v]);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = r * product.columns + v * kLanes;
      const size_t count = panel.count - v * kLanes;
      FloatVector sum = sums[r][v];
      if (is_last) {
        // A NaN stays one.
        if (product.relu) sum = hn::IfThenZeroElse(hn::Lt(sum, hn::Zero(d)), sum);
        if (product.factors != nullptr) {
          const float* factors = product.factors + row * product.columns + panel.first + at;
          sum = hn::Mul(sum, LoadPart(factors, count));
        }
      }
      StorePart(sum, out + at, count);
    }
  }
}

template <size_t kVectors>
HWY_INLINE void BlockOfRows(const MatrixProduct& product, const Panel& panel, size_t row, size_t rows, size_t begin,
                            size_t end) {
  switch (rows) {
    case 1:
      return Block<1, kVectors>(product, panel, row, begin, end);
    case 2:
      return Block<2, kVectors>(product, panel, row, begin, end);
    case 3:
      return Block<3, kVectors>(product, panel, row, begin, end);
    case 4:
      return Block<4, kVectors>(product, panel, row, begin, end);
    case 5:
      return Block<5, kVectors>(product, panel, row, begin, end);
    default:
      return Block<6, kVectors>(product, panel, row, begin, end);
  }
}

HWY_INLINE void BlockOfPanel(const MatrixProduct& product, const Panel& panel, size_t row, size_t rows, size_t begin,
                             size_t end) {
  if (panel.vectors == 1) return BlockOfRows<1>(product, panel, row, rows, begin, end);
  if (panel.vectors == 2) return BlockOfRows<2>(product, panel, row, rows, begin, end);
  if constexpr (kBlockVectors > 2) {
    if (panel.vectors == 3) return BlockOfRows<3>(product, panel, row, rows, begin, end);
    BlockOfRows<4>(product, panel, row, rows, begin, end);
  }
}

void ClearRows(const MatrixProduct& product, const Panel& panel, size_t begin, size_t end) {
  for (size_t row = begin; row < end; ++row) {
    std::memset(product.out + row * product.columns + panel.first, 0, panel.count * sizeof(float));
  }
}

// Rows begin … end - 1 of one panel.
HWY_INLINE void MultiplyPanel(const MatrixProduct& product, const Panel& panel, size_t begin, size_t end) {
  const size_t rows_begin = std::clamp<size_t>(panel.rows.begin, begin, end);
  const size_t rows_end = std::clamp<size_t>(panel.rows.end, rows_begin, end);
  ClearRows(product, panel, begin, rows_begin);
  ClearRows(product, panel, rows_end, end);
  const size_t depth_end = panel.depth.end;
  // Once also where there is no depth: what is left then is the bias.
  size_t depth = panel.depth.begin;
  do {
    const size_t next = std::min(depth + kDepthBlock, depth_end);
    for (size_t row = rows_begin; row < rows_end; row += kBlockRows) {
      BlockOfPanel(product, panel, row, std::min(kBlockRows, rows_end - row), depth, next);
    }
    depth = next;
  } while (depth < depth_end);
}

HWY_ATTR void MultiplyRowsOnTarget(const MatrixProduct& product, const float* packed, size_t begin, size_t end) {
  for (size_t row = begin; row < end; row += kCachedRows) {
    for (size_t first = 0; first < product.columns; first += kPanelColumns) {
      const Panel panel = PanelAt(product, packed, first);
      MultiplyPanel(product, panel, row, std::min(row + kCachedRows, end));
    }
  }
}

// Sums of short stretches first: rounding errors of long sums stay small.
constexpr size_t kSumRows = 64;

// Rows begin … end - 1 of kVectors vectors of columns, the first `count` of them, from `first` on.
template <size_t kVectors>
HWY_INLINE void GateColumns(const GradientGate& gate, size_t first, size_t count, size_t begin, size_t end) {
  const FloatTag d;
  FloatVector sums[kVectors];
  for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::Zero(d);
  for (size_t row = begin; row < end; ++row) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t at = row * gate.columns + first + v * kLanes;
      const size_t part = count - v * kLanes;
      FloatVector gradient = LoadPart(gate.gradient + at, part);
      if (gate.output != nullptr) {
        // As LibTorch: where the output is NaN, the gradient passes.
        gradient = hn::IfThenZeroElse(hn::Le(LoadPart(gate.output + at, part), hn::Zero(d)), gradient);
        StorePart(gradient, gate.gated + at, part);
      }
      sums[v] = hn::Add(sums[v], gradient);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) {
    float* sum = gate.sums + first + v * kLanes;
    StorePart(hn::Add(LoadPart(sum, count - v * kLanes), sums[v]), sum, count - v * kLanes);
  }
}

HWY_ATTR void GateGradientOnTarget(const GradientGate& gate, size_t first, size_t count) {
  std::fill_n(gate.sums + first, count, 0.0F);
  const size_t end_column = first + count;
  for (size_t begin = 0; begin < gate.rows; begin += kSumRows) {
    const size_t end = std::min(begin + kSumRows, gate.rows);
    size_t j = first;
    for (; j + 4 * kLanes <= end_column; j += 4 * kLanes) GateColumns<4>(gate, j, 4 * kLanes, begin, end);
    for (; j < end_column; j += kLanes) GateColumns<1>(gate, j, end_column - j, begin, end);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::flow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace densityd::flow {
namespace {

// At least the columns of any target's panel, of which the last one may be padded.
constexpr size_t kMaxPanelColumns = 64;

}  // namespace

HWY_EXPORT(PackRightOnTarget);
HWY_EXPORT(MultiplyRowsOnTarget);
HWY_EXPORT(GateGradientOnTarget);

size_t PackedSize(const MatrixProduct& product) {
  return (product.columns + kMaxPanelColumns - 1) / kMaxPanelColumns * kMaxPanelColumns * product.depth;
}

void PackRight(const MatrixProduct& product, float* packed) {
  HWY_DYNAMIC_DISPATCH(PackRightOnTarget)(product, packed);
}

void MultiplyRows(const MatrixProduct& product, const float* packed, size_t begin, size_t end) {
  HWY_DYNAMIC_DISPATCH(MultiplyRowsOnTarget)(product, packed, begin, end);
}

void GateGradient(const GradientGate& gate, size_t first, size_t count) {
  HWY_DYNAMIC_DISPATCH(GateGradientOnTarget)(gate, first, count);
}

}  // namespace densityd::flow
#endif  // HWY_ONCE
