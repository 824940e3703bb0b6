// Rows between requests and a plan's tile: copies with conversion, for memory of any alignment.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "server/base/matrix.h"

namespace densityd::engine {

namespace rows_internal {

template <typename From, typename To>
void Convert(const void* from, size_t count, To* to) {
  const char* bytes = static_cast<const char*>(from);
  for (size_t i = 0; i < count; ++i, bytes += sizeof(From)) {
    From number;
    std::memcpy(&number, bytes, sizeof(number));
    to[i] = static_cast<To>(number);
  }
}

template <typename To, typename From>
void ConvertTo(const From* from, size_t count, void* to) {
  char* bytes = static_cast<char*>(to);
  for (size_t i = 0; i < count; ++i, bytes += sizeof(To)) {
    const To number = static_cast<To>(from[i]);
    std::memcpy(bytes, &number, sizeof(number));
  }
}

}  // namespace rows_internal

/// `matrix`, row-major, as `Number`s into `out`, which has room for matrix.rows * matrix.cols of them.
template <typename Number>
void ReadRows(const ConstMatrix& matrix, Number* out) {
  const size_t count = matrix.rows * matrix.cols;
  if (count == 0) return;
  if (NumberBytes(matrix.type) == sizeof(Number)) {
    std::memcpy(out, matrix.data, count * sizeof(Number));
  } else if (matrix.type == NumberType::kFloat32) {
    rows_internal::Convert<float>(matrix.data, count, out);
  } else {
    rows_internal::Convert<double>(matrix.data, count, out);
  }
}

/// `rows` rows of context into `out` (rows, matrix.cols). A single row is repeated.
template <typename Number>
void ReadContext(const ConstMatrix& context, size_t rows, Number* out) {
  ReadRows(context, out);
  if (context.rows != 1) return;
  for (size_t row = 1; row < rows; ++row) std::copy_n(out, context.cols, out + row * context.cols);
}

/// matrix.rows * matrix.cols numbers into `matrix`. A float64 beyond the range of float32 becomes an infinity there.
template <typename Number>
void WriteRows(const Number* numbers, const MutableMatrix& matrix) {
  const size_t count = matrix.rows * matrix.cols;
  if (count == 0) return;
  if (NumberBytes(matrix.type) == sizeof(Number)) {
    std::memcpy(matrix.data, numbers, count * sizeof(Number));
  } else if (matrix.type == NumberType::kFloat32) {
    rows_internal::ConvertTo<float>(numbers, count, matrix.data);
  } else {
    rows_internal::ConvertTo<double>(numbers, count, matrix.data);
  }
}

}  // namespace densityd::engine
