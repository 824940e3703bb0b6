#include "server/engine/cpu/matrix64.h"

namespace densityd::engine::cpu {
namespace {

Matrix64 Transpose(const Matrix64& a) {
  Matrix64 result(a.cols, a.rows);
  for (size_t i = 0; i < a.rows; ++i) {
    for (size_t j = 0; j < a.cols; ++j) result(j, i) = a(i, j);
  }
  return result;
}

}  // namespace

Matrix64 Multiply(const Matrix64& a, const Matrix64& b) {
  Matrix64 result(a.rows, b.cols);
  for (size_t i = 0; i < a.rows; ++i) {
    for (size_t k = 0; k < a.cols; ++k) {
      const double factor = a(i, k);
      for (size_t j = 0; j < b.cols; ++j) result(i, j) += factor * b(k, j);
    }
  }
  return result;
}

std::vector<double> Multiply(const Matrix64& a, const std::vector<double>& x) {
  std::vector<double> result(a.rows);
  for (size_t i = 0; i < a.rows; ++i) {
    for (size_t k = 0; k < a.cols; ++k) result[i] += a(i, k) * x[k];
  }
  return result;
}

Matrix64 InvertLower(const Matrix64& lower) {
  // Forward substitution: column j of the inverse solves lower * column = unit vector j.
  const size_t n = lower.rows;
  Matrix64 inverse(n, n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) {
      const double factor = lower(i, k);
      for (size_t j = 0; j <= k; ++j) inverse(i, j) -= factor * inverse(k, j);
    }
    for (size_t j = 0; j < i; ++j) inverse(i, j) /= lower(i, i);
    inverse(i, i) = 1 / lower(i, i);
  }
  return inverse;
}

Matrix64 InvertUpper(const Matrix64& upper) { return Transpose(InvertLower(Transpose(upper))); }

}  // namespace densityd::engine::cpu
