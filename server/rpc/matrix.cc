#include "server/rpc/matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/matrix_message.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

using density::v1::Encoding;
using density::v1::Matrix;

std::string Part(std::string_view field, std::string_view part) {
  return absl::StrCat(ToAbsl(field), ".", ToAbsl(part));
}

/// The largest bit pattern without its sign. Ordered as the magnitudes are, with infinity and NaN on top; a maximum of
/// integers is vectorised where a test for NaN in a loop with an exit is not.
template <typename Bits>
Bits LargestMagnitude(const char* data, size_t count) {
  constexpr Bits kSign = Bits{1} << (8 * sizeof(Bits) - 1);
  Bits largest = 0;
  for (size_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, data + i * sizeof(Bits), sizeof bits);
    bits &= ~kSign;
    largest = std::max(largest, bits);
  }
  return largest;
}

/// The largest magnitude that is allowed, as bits.
template <typename Number, typename Bits>
Bits Bound(NumberType precision) {
  const auto float32 = static_cast<Number>(std::numeric_limits<float>::max());
  return std::bit_cast<Bits>(precision == NumberType::kFloat32 ? float32 : std::numeric_limits<Number>::max());
}

template <typename Number, typename Bits>
absl::Status CheckFiniteAs(std::string_view field, const ConstMatrix& numbers, NumberType precision) {
  const char* data = static_cast<const char*>(numbers.data);
  const Bits bound = Bound<Number, Bits>(precision);
  const size_t row_bytes = numbers.cols * sizeof(Number);
  // Blocks of many narrow rows, so that the loop over numbers is long.
  const size_t block = std::max<size_t>(1, 4096 / numbers.cols);
  for (size_t begin = 0; begin < numbers.rows; begin += block) {
    const size_t rows = std::min(block, numbers.rows - begin);
    if (LargestMagnitude<Bits>(data + begin * row_bytes, rows * numbers.cols) <= bound) continue;
    for (size_t i = 0; i < rows * numbers.cols; ++i) {
      Number value;
      std::memcpy(&value, data + begin * row_bytes + i * sizeof(Number), sizeof value);
      if (LargestMagnitude<Bits>(reinterpret_cast<const char*>(&value), 1) <= bound) continue;
      const std::string column = absl::StrCat("column ", i % numbers.cols, " is ", value);
      return InvalidRow(field, begin + i / numbers.cols,
                        std::isfinite(value) ? column + ", beyond float32; ask for PRECISION_FLOAT64"
                                             : column + "; every number must be finite");
    }
  }
  return absl::OkStatus();
}

template <typename Number, typename Bits>
std::vector<size_t> NonFiniteRowsAs(const ConstMatrix& numbers, NumberType precision) {
  const char* data = static_cast<const char*>(numbers.data);
  const Bits bound = Bound<Number, Bits>(precision);
  std::vector<size_t> rows;
  for (size_t row = 0; row < numbers.rows; ++row) {
    if (LargestMagnitude<Bits>(data + row * numbers.cols * sizeof(Number), numbers.cols) > bound) rows.push_back(row);
  }
  return rows;
}

MutableMatrix AllocateIn(Encoding encoding, size_t rows, size_t cols, google::protobuf::RepeatedField<float>* values,
                         std::string* f32, std::string* f64) {
  const size_t count = rows * cols;
  switch (encoding) {
    case density::v1::ENCODING_F32_LE:
      f32->resize(count * 4);
      return {f32->data(), NumberType::kFloat32, rows, cols};
    case density::v1::ENCODING_F64_LE:
      f64->resize(count * 8);
      return {f64->data(), NumberType::kFloat64, rows, cols};
    default:
      values->Reserve(static_cast<int>(count));
      return {values->AddNAlreadyReserved(static_cast<int>(count)), NumberType::kFloat32, rows, cols};
  }
}

}  // namespace

bool IsAbsent(const Matrix& matrix) {
  return matrix.rows() == 0 && matrix.cols() == 0 && matrix.values_size() == 0 && matrix.f32_le().empty() &&
         matrix.f64_le().empty();
}

absl::StatusOr<ConstMatrix> ViewRows(std::string_view field, const Matrix& matrix) {
  if (IsAbsent(matrix)) return InvalidArgument(field, "is required");
  if (matrix.rows() == 0) return InvalidArgument(Part(field, "rows"), "is 0; at least one row is needed");
  if (matrix.cols() == 0) return InvalidArgument(Part(field, "cols"), "is 0; at least one column is needed");
  return ViewMatrix(matrix, field);
}

Encoding EncodingOf(const Matrix& matrix) {
  if (!matrix.f32_le().empty()) return density::v1::ENCODING_F32_LE;
  if (!matrix.f64_le().empty()) return density::v1::ENCODING_F64_LE;
  return density::v1::ENCODING_VALUES;
}

absl::Status CheckFinite(std::string_view field, const ConstMatrix& numbers, NumberType precision) {
  if (numbers.type == NumberType::kFloat32) return CheckFiniteAs<float, uint32_t>(field, numbers, precision);
  return CheckFiniteAs<double, uint64_t>(field, numbers, precision);
}

std::vector<size_t> NonFiniteRows(const ConstMatrix& numbers, NumberType precision) {
  if (numbers.type == NumberType::kFloat32) return NonFiniteRowsAs<float, uint32_t>(numbers, precision);
  return NonFiniteRowsAs<double, uint64_t>(numbers, precision);
}

absl::StatusOr<Encoding> ResolveEncoding(std::string_view field, Encoding encoding, Encoding unspecified) {
  if (encoding == density::v1::ENCODING_UNSPECIFIED) return unspecified;
  if (density::v1::Encoding_IsValid(encoding)) return encoding;
  return InvalidArgument(field, absl::StrCat(static_cast<int>(encoding), " is no Encoding"));
}

absl::StatusOr<NumberType> ResolvePrecision(std::string_view field, density::v1::Precision precision) {
  switch (precision) {
    case density::v1::PRECISION_UNSPECIFIED:
    case density::v1::PRECISION_FLOAT32:
      return NumberType::kFloat32;
    case density::v1::PRECISION_FLOAT64:
      return NumberType::kFloat64;
    default:
      return InvalidArgument(field, absl::StrCat(static_cast<int>(precision), " is no Precision"));
  }
}

uint64_t EncodedBytes(Encoding encoding) { return encoding == density::v1::ENCODING_F64_LE ? 8 : 4; }

MutableMatrix Allocate(Encoding encoding, size_t rows, size_t cols, Matrix& matrix) {
  matrix.set_rows(rows);
  matrix.set_cols(cols);
  return AllocateIn(encoding, rows, cols, matrix.mutable_values(), matrix.mutable_f32_le(), matrix.mutable_f64_le());
}

MutableMatrix Allocate(Encoding encoding, size_t rows, density::v1::Vector& vector) {
  return AllocateIn(encoding, rows, 1, vector.mutable_values(), vector.mutable_f32_le(), vector.mutable_f64_le());
}

void ReadColumn(const MutableMatrix& column, std::vector<double>& values) {
  values.resize(column.rows);
  if (column.type == NumberType::kFloat64) {
    std::memcpy(values.data(), column.data, column.rows * sizeof(double));
    return;
  }
  for (size_t row = 0; row < column.rows; ++row) {
    float value;
    std::memcpy(&value, static_cast<const char*>(column.data) + row * sizeof value, sizeof value);
    values[row] = value;
  }
}

void WriteColumn(const std::vector<double>& values, const MutableMatrix& column) {
  if (column.type == NumberType::kFloat64) {
    std::memcpy(column.data, values.data(), values.size() * sizeof(double));
    return;
  }
  for (size_t row = 0; row < values.size(); ++row) {
    const auto value = static_cast<float>(values[row]);
    std::memcpy(static_cast<char*>(column.data) + row * sizeof value, &value, sizeof value);
  }
}

}  // namespace densityd::rpc
