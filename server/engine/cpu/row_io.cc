#include "server/engine/cpu/row_io.h"

#include <algorithm>
#include <cmath>
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

/// The same under the maps of `edge`; returns the sum of their log-slopes.
template <typename Number>
double MapRow(const ConstMatrix& matrix, size_t row, absl::Span<const flow::ColumnForm> edge, float* to, size_t step) {
  double log = 0;
  for (size_t j = 0; j < edge.size(); ++j) {
    const double number = ReadNumber<Number>(matrix.data, row * matrix.cols + j);
    const flow::MappedNumber mapped = flow::MapToBase(edge[j], number);
    to[j * step] = static_cast<float>(mapped.value);
    log += mapped.log_slope;
  }
  return log;
}

double MapRow(const ConstMatrix& matrix, size_t row, absl::Span<const flow::ColumnForm> edge, float* to, size_t step) {
  return matrix.type == NumberType::kFloat32 ? MapRow<float>(matrix, row, edge, to, step)
                                             : MapRow<double>(matrix, row, edge, to, step);
}

/// Whether the input of `op` is data, and its output z.
bool IsData(Op op) { return op == Op::kLogProb || op == Op::kInverse; }

size_t EncodedWidth(const Edge& edge) {
  size_t width = 0;
  for (const ContextEdge& one : edge.context) width += one.column.width;
  return width;
}

/// The numbers of one context column that networks see, besides the flag.
void EncodeNumbers(const ContextEdge& edge, double x, float* to, size_t step) {
  const flow::ContextColumn& column = edge.column;
  const bool is_learnt = column.is_category() || (column.has_flag() && std::isnan(x));
  const float* learnt = edge.learnt.data();
  if (column.is_category()) learnt += flow::EmbeddingRow(column, x) * column.width;
  double encoded[2] = {0, 0};
  if (!is_learnt) flow::EncodeNumber(column, x, encoded);
  for (size_t i = 0; i < column.values(); ++i) {
    to[i * step] = is_learnt ? learnt[i] : static_cast<float>(encoded[i]);
  }
}

/// Row `row` of the context, encoded, into neighbouring columns that begin at `to`.
void EncodeRow(const ConstMatrix& matrix, size_t row, const Edge& edge, float* to, size_t step) {
  for (size_t j = 0; j < edge.context.size(); ++j) {
    const size_t at = row * matrix.cols + j;
    const double x =
        matrix.type == NumberType::kFloat32 ? ReadNumber<float>(matrix.data, at) : ReadNumber<double>(matrix.data, at);
    const flow::ContextColumn& column = edge.context[j].column;
    EncodeNumbers(edge.context[j], x, to, step);
    if (column.has_flag()) to[column.values() * step] = std::isnan(x) ? 1 : 0;
    to += column.width * step;
  }
}

/// The output of the row that begins at `from`, under the maps of `edge`, into row `row`; returns the sum of their
/// log-slopes.
double UnmapRow(const float* from, size_t step, const Program& program, absl::Span<const flow::ColumnForm> edge,
                const MutableMatrix& matrix, size_t row) {
  const bool is_float = matrix.type == NumberType::kFloat32;
  double log = 0;
  for (size_t j = 0; j < edge.size(); ++j) {
    const flow::MappedNumber mapped = flow::MapToData(edge[j], from[program.output[j] * step]);
    log += mapped.log_slope;
    if (matrix.data == nullptr) continue;
    if (is_float) {
      WriteNumber(static_cast<float>(mapped.value), matrix.data, row * edge.size() + j);
    } else {
      WriteNumber(mapped.value, matrix.data, row * edge.size() + j);
    }
  }
  return log;
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

void ReadRowsIntoTable(Op op, absl::Span<const RowSpan> spans, const Program& program, const Edge& edge,
                       const TablePlace& place) {
  const bool maps = IsData(op) && !edge.columns.empty();
  std::fill_n(place.log, place.padded_rows, 0.0f);
  size_t at = 0;
  size_t context_features = 0;
  const size_t step = place.column_step;
  for (const RowSpan& span : spans) {
    context_features = edge.context.empty() ? span.context.cols : EncodedWidth(edge);
    if (op == Op::kSample) {
      FillNoise({span.seed, span.first_row, span.rows, program.input.size()},
                place.numbers + at * place.row_step + program.input.front() * step, place.row_step, step);
    }
    for (size_t row = 0; row < span.rows; ++row, ++at) {
      float* numbers = place.numbers + at * place.row_step;
      float* input = numbers + program.input.front() * step;
      if (maps) {
        place.log[at] = static_cast<float>(MapRow(span.input, row, edge.columns, input, step));
      } else if (op != Op::kSample) {
        ReadRow(span.input, row, program.input_affine, input, step);
      }
      const size_t context_row = span.context.rows == 1 ? 0 : row;
      float* context = numbers + program.context * step;
      if (edge.context.empty()) {
        ReadRow(span.context, context_row, program.context_affine, context, step);
      } else {
        EncodeRow(span.context, context_row, edge, context, step);
      }
    }
  }
  ClearRows(program, place, at, context_features);
}

void WriteRowsFromTable(Op op, absl::Span<const RowSpan> spans, const Program& program, const Edge& edge,
                        const TablePlace& place, double constant) {
  const bool maps = !IsData(op) && !edge.columns.empty();
  const double sign = op == Op::kSample ? -1 : 1;
  size_t at = 0;
  for (const RowSpan& span : spans) {
    for (size_t row = 0; row < span.rows; ++row, ++at) {
      const float* numbers = place.numbers + at * place.row_step;
      double log = static_cast<double>(place.log[at]) + constant;
      if (maps) {
        log += UnmapRow(numbers, place.column_step, program, edge.columns, span.output, row);
      } else {
        WriteRow(numbers, place.column_step, program, span.output, row);
      }
      WriteLog(sign * log, span.log, row);
    }
  }
}

}  // namespace densityd::engine::cpu
