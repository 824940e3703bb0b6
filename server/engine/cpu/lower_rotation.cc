#include "server/engine/cpu/lower_rotation.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace densityd::engine::cpu {
namespace {

Matrix64 Identity(size_t size) {
  Matrix64 matrix(size, size);
  for (size_t i = 0; i < size; ++i) matrix(i, i) = 1;
  return matrix;
}

Matrix64 Transpose(const Matrix64& matrix) {
  Matrix64 transposed(matrix.cols, matrix.rows);
  for (size_t i = 0; i < matrix.rows; ++i) {
    for (size_t j = 0; j < matrix.cols; ++j) transposed(j, i) = matrix(i, j);
  }
  return transposed;
}

/// e^matrix, by its power series near zero and squarings: e^A = (e^(A / 2^s))^(2^s).
Matrix64 Exponential(Matrix64 matrix) {
  double norm = 0;  // largest sum of a row
  for (size_t i = 0; i < matrix.rows; ++i) {
    double sum = 0;
    for (size_t j = 0; j < matrix.cols; ++j) sum += std::abs(matrix(i, j));
    norm = std::max(norm, sum);
  }
  int squarings = 0;
  for (; norm > 0.5; norm /= 2) ++squarings;
  for (double& number : matrix.values) number = std::ldexp(number, -squarings);
  Matrix64 sum = Identity(matrix.rows);
  Matrix64 term = sum;
  // 0.5^15 / 15! is below the last digit.
  for (int power = 1; power < 15; ++power) {
    term = Multiply(term, matrix);
    for (size_t i = 0; i < term.values.size(); ++i) sum.values[i] += term.values[i] /= power;
  }
  for (; squarings > 0; --squarings) sum = Multiply(sum, sum);
  return sum;
}

/// left^-1 right by elimination without pivots, which a positive definite symmetric part of `left` makes safe.
Matrix64 Solve(Matrix64 left, Matrix64 right) {
  const size_t size = left.rows;
  for (size_t pivot = 0; pivot < size; ++pivot) {
    for (size_t i = 0; i < size; ++i) {
      if (i == pivot) continue;
      const double factor = left(i, pivot) / left(pivot, pivot);
      if (factor == 0) continue;
      for (size_t j = pivot; j < size; ++j) left(i, j) -= factor * left(pivot, j);
      for (size_t j = 0; j < size; ++j) right(i, j) -= factor * right(pivot, j);
    }
  }
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j) right(i, j) /= left(i, i);
  }
  return right;
}

/// z = rotation x.
MatrixLayer RotationLayer(Matrix64 rotation) {
  MatrixLayer layer;
  layer.inverse = Transpose(rotation);
  layer.shift.resize(rotation.rows);
  layer.matrix = std::move(rotation);
  return layer;
}

}  // namespace

MatrixLayer LowerHouseholder(const Matrix64& vectors) {
  const size_t features = vectors.cols;
  Matrix64 matrix = Identity(features);
  for (size_t k = 0; k < vectors.rows; ++k) {
    double square = 0;
    for (size_t i = 0; i < features; ++i) square += vectors(k, i) * vectors(k, i);
    const double factor = 2 / std::max(square, 1e-30);
    for (size_t j = 0; j < features; ++j) {
      double product = 0;
      for (size_t i = 0; i < features; ++i) product += vectors(k, i) * matrix(i, j);
      for (size_t i = 0; i < features; ++i) matrix(i, j) -= vectors(k, i) * factor * product;
    }
  }
  return RotationLayer(std::move(matrix));
}

MatrixLayer LowerOrthogonal(const std::vector<double>& skew, density::v1::Orthogonal::Map map, size_t features) {
  const bool is_cayley = map == density::v1::Orthogonal::CAYLEY;
  Matrix64 matrix(features, features);
  size_t next = 0;
  for (size_t i = 0; i < features; ++i) {
    for (size_t j = 0; j < i; ++j) {
      matrix(i, j) = is_cayley ? skew[next] / 2 : skew[next];
      matrix(j, i) = -matrix(i, j);
      ++next;
    }
  }
  if (!is_cayley) return RotationLayer(Exponential(std::move(matrix)));
  Matrix64 left = Identity(features);
  Matrix64 right = left;
  for (size_t i = 0; i < matrix.values.size(); ++i) {
    left.values[i] -= matrix.values[i];
    right.values[i] += matrix.values[i];
  }
  return RotationLayer(Solve(std::move(left), std::move(right)));
}

}  // namespace densityd::engine::cpu
