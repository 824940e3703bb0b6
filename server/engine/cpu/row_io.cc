#include "server/engine/cpu/row_io.h"

#include <algorithm>
#include <cstring>

#include "server/engine/cpu/kernels.h"

namespace densityd::engine::cpu {
namespace {

template <typename Number>
Number ReadNumber(const void* data, size_t i) {
  Number number;
  std::memcpy(&number, static_cast<const char*>(data) + i * sizeof(Number), sizeof(Number));
  return number;
}

template <typename Number>
void WriteNumber(Number number, void* data, size_t i) {
  std::memcpy(static_cast<char*>(data) + i * sizeof(Number), &number, sizeof(Number));
}

template <typename Number>
void ReadRow(const ConstMatrix& matrix, size_t row, const std::vector<EdgeAffine>& affine, float* to, size_t step) {
  const size_t begin = row * matrix.cols;
  if (affine.empty()) {
    for (size_t j = 0; j < matrix.cols; ++j)
      to[j * step] = static_cast<float>(ReadNumber<Number>(matrix.data, begin + j));
    return;
  }
  for (size_t j = 0; j < matrix.cols; ++j) {
    const double number = ReadNumber<Number>(matrix.data, begin + j);
    to[j * step] = static_cast<float>((number - affine[j].center) * affine[j].factor);
  }
}

/// Row `row` into neighbouring columns that begin at `to`.
void ReadRow(const ConstMatrix& matrix, size_t row, const std::vector<EdgeAffine>& affine, float* to, size_t step) {
  if (matrix.data == nullptr) return;
  if (matrix.type == NumberType::kFloat32) {
    ReadRow<float>(matrix, row, affine, to, step);
  } else {
    ReadRow<double>(matrix, row, affine, to, step);
  }
}

template <typename Number>
void WriteRow(const float* from, size_t step, const Program& program, const MutableMatrix& matrix, size_t row) {
  const size_t columns = program.output.size();
  const std::vector<EdgeAffine>& affine = program.output_affine;
  for (size_t j = 0; j < columns; ++j) {
    const float number = from[program.output[j] * step];
    const Number value = affine.empty() ? static_cast<Number>(number)
                                        : static_cast<Number>(number * affine[j].factor + affine[j].center);
    WriteNumber<Number>(value, matrix.data, row * columns + j);
  }
}

/// The output of the row that begins at `from` into row `row`.
void WriteRow(const float* from, size_t step, const Program& program, const MutableMatrix& matrix, size_t row) {
  if (matrix.data == nullptr) return;
  if (matrix.type == NumberType::kFloat32) {
    WriteRow<float>(from, step, program, matrix, row);
  } else {
    WriteRow<double>(from, step, program, matrix, row);
  }
}

void WriteLog(double log, const MutableMatrix& matrix, size_t row) {
  if (matrix.data == nullptr) return;
  if (matrix.type == NumberType::kFloat32) {
    WriteNumber(static_cast<float>(log), matrix.data, row);
  } else {
    WriteNumber(log, matrix.data, row);
  }
}

/// Rows beyond the request's: zeros, so that the arithmetic on them is ordinary.
void ClearRows(const Program& program, const TablePlace& place, size_t begin, size_t context_features) {
  for (size_t row = begin; row < place.padded_rows; ++row) {
    float* numbers = place.numbers + row * place.row_step;
    for (Column column : program.input) numbers[column * place.column_step] = 0;
    for (size_t j = 0; j < context_features; ++j) numbers[(program.context + j) * place.column_step] = 0;
  }
}

}  // namespace

void ReadRowsIntoTable(Op op, absl::Span<const RowSpan> spans, const Program& program, const TablePlace& place) {
  size_t at = 0;
  size_t context_features = 0;
  const size_t step = place.column_step;
  for (const RowSpan& span : spans) {
    context_features = span.context.cols;
    if (op == Op::kSample) {
      FillNoise({span.seed, span.first_row, span.rows, program.input.size()},
                place.numbers + at * place.row_step + program.input.front() * step, place.row_step, step);
    }
    for (size_t row = 0; row < span.rows; ++row, ++at) {
      float* numbers = place.numbers + at * place.row_step;
      if (op != Op::kSample) {
        ReadRow(span.input, row, program.input_affine, numbers + program.input.front() * step, step);
      }
      ReadRow(span.context, span.context.rows == 1 ? 0 : row, program.context_affine, numbers + program.context * step,
              step);
    }
  }
  ClearRows(program, place, at, context_features);
  std::fill_n(place.log, place.padded_rows, 0.0f);
}

void WriteRowsFromTable(absl::Span<const RowSpan> spans, const Program& program, const TablePlace& place,
                        double constant, double log_sign) {
  size_t at = 0;
  for (const RowSpan& span : spans) {
    for (size_t row = 0; row < span.rows; ++row, ++at) {
      WriteRow(place.numbers + at * place.row_step, place.column_step, program, span.output, row);
      WriteLog(log_sign * (static_cast<double>(place.log[at]) + constant), span.log, row);
    }
  }
}

}  // namespace densityd::engine::cpu
