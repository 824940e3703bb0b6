// The little float64 linear algebra that compiling a plan needs.
#pragma once

#include <cstddef>
#include <vector>

namespace densityd::engine::cpu {

/// Row-major matrix (rows, cols).
struct Matrix64 {
  size_t rows = 0;
  size_t cols = 0;
  std::vector<double> values;

  Matrix64() = default;
  /// Zeros.
  Matrix64(size_t row_count, size_t col_count) : rows(row_count), cols(col_count), values(row_count * col_count) {}

  double& operator()(size_t row, size_t col) { return values[row * cols + col]; }
  double operator()(size_t row, size_t col) const { return values[row * cols + col]; }
};

/// a b. Precondition: a.cols == b.rows.
Matrix64 Multiply(const Matrix64& a, const Matrix64& b);
/// a x. Precondition: a.cols == x.size().
std::vector<double> Multiply(const Matrix64& a, const std::vector<double>& x);
/// Inverse of a lower triangular matrix with a diagonal without zeros.
Matrix64 InvertLower(const Matrix64& lower);
/// Inverse of an upper triangular matrix with a diagonal without zeros.
Matrix64 InvertUpper(const Matrix64& upper);

}  // namespace densityd::engine::cpu
