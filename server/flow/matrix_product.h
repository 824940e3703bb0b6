// Products of float32 matrices on a CPU, as a network's passes need them: with a bias and a ReLU, and without the
// zeros of masked weights.
#pragma once

#include <cstddef>
#include <cstdint>

namespace densityd::flow {

/// Indices begin … end - 1; none where begin >= end.
struct IndexRange {
  int32_t begin;
  int32_t end;
};

/// out = max(left right + bias, 0), or without the maximum or the bias. `out` (rows, columns) has no gaps; the others
/// are reached by steps between neighbours, in numbers.
struct MatrixProduct {
  size_t rows = 0;
  size_t depth = 0;
  size_t columns = 0;

  const float* left = nullptr;  ///< (rows, depth)
  size_t left_row_step = 0;
  size_t left_depth_step = 0;
  const float* right = nullptr;  ///< (depth, columns); one of its steps is 1
  size_t right_depth_step = 0;
  size_t right_column_step = 0;
  const float* bias = nullptr;  ///< (columns), or null
  bool relu = false;
  float* out = nullptr;

  /// Per column: `right` is zero in other entries of the depth, and they are passed over. Null: there are none.
  const IndexRange* depth_of_column = nullptr;
  /// Per column: `out` is set to zero in other rows. Null: there are none.
  const IndexRange* rows_of_column = nullptr;
  /// (rows, columns), what `out` is multiplied with where it is not set to zero, or null.
  const float* factors = nullptr;
};

/// Numbers of a buffer for what of `right` is copied into the order of the multiplication first.
size_t PackedSize(const MatrixProduct& product);

/// Copies it to `packed`.
void PackRight(const MatrixProduct& product, float* packed);

/// Rows begin … end - 1 of `out`. Each number has one accumulator, which goes through the depth in ascending order, so
/// it has the same bits however rows are shared out among threads.
void MultiplyRows(const MatrixProduct& product, const float* packed, size_t begin, size_t end);

/// The gradient of a ReLU and of the bias before it: of (rows, columns) numbers without gaps, gated = gradient where
/// output > 0 and 0 elsewhere, for `count` columns from `first` on; and the sums (columns) of those columns of `gated`.
/// Without `output` there is no ReLU, and `gated` is left alone.
struct GradientGate {
  size_t rows = 0;
  size_t columns = 0;
  const float* gradient = nullptr;
  const float* output = nullptr;
  float* gated = nullptr;
  float* sums = nullptr;
};
void GateGradient(const GradientGate& gate, size_t first, size_t count);

}  // namespace densityd::flow
