#include "server/rpc/matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace densityd::rpc {
namespace {

using density::v1::Encoding;
using density::v1::Matrix;
using ::testing::HasSubstr;

constexpr Encoding kEncodings[] = {density::v1::ENCODING_VALUES, density::v1::ENCODING_F32_LE,
                                   density::v1::ENCODING_F64_LE};

template <typename Number>
std::string Bytes(const std::vector<Number>& numbers) {
  std::string bytes(numbers.size() * sizeof(Number), '\0');
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

Matrix Make(Encoding encoding, size_t rows, size_t cols, const std::vector<double>& numbers) {
  Matrix matrix;
  matrix.set_rows(rows);
  matrix.set_cols(cols);
  const std::vector<float> floats(numbers.begin(), numbers.end());
  if (encoding == density::v1::ENCODING_F32_LE) {
    matrix.set_f32_le(Bytes(floats));
  } else if (encoding == density::v1::ENCODING_F64_LE) {
    matrix.set_f64_le(Bytes(numbers));
  } else {
    matrix.mutable_values()->Add(floats.begin(), floats.end());
  }
  return matrix;
}

absl::Status Check(const Matrix& matrix, NumberType precision = NumberType::kFloat32) {
  const auto rows = ViewRows("rows", matrix);
  return rows.ok() ? CheckFinite("rows", *rows, precision) : rows.status();
}

TEST(Matrix, IsViewedInPlaceInEveryEncoding) {
  for (const Encoding encoding : kEncodings) {
    const Matrix matrix = Make(encoding, 2, 3, {1, 2, 3, 4, 5, 6});
    const auto rows = ViewRows("rows", matrix);
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_EQ(rows->rows, 2u);
    EXPECT_EQ(rows->cols, 3u);
    EXPECT_EQ(EncodingOf(matrix), encoding);
    std::vector<double> numbers;
    ReadColumn({const_cast<void*>(rows->data), rows->type, 6, 1}, numbers);
    EXPECT_EQ(numbers, (std::vector<double>{1, 2, 3, 4, 5, 6}));
  }
}

TEST(Matrix, ThatIsAllocatedIsReadBack) {
  const std::vector<double> numbers = {0.5, -2, 3.25, 7};
  for (const Encoding encoding : kEncodings) {
    Matrix matrix;
    const MutableMatrix room = Allocate(encoding, 4, 1, matrix);
    WriteColumn(numbers, room);
    const auto rows = ViewRows("rows", matrix);
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_EQ(EncodingOf(matrix), encoding);
    std::vector<double> read;
    ReadColumn(room, read);
    EXPECT_EQ(read, numbers);

    density::v1::Vector vector;
    WriteColumn(numbers, Allocate(encoding, 4, vector));
    const size_t held = encoding == density::v1::ENCODING_VALUES   ? vector.values_size() * 4u
                        : encoding == density::v1::ENCODING_F32_LE ? vector.f32_le().size()
                                                                   : vector.f64_le().size();
    EXPECT_EQ(held, 4 * EncodedBytes(encoding));
  }
}

TEST(Matrix, ThatIsEmptyIsRefused) {
  Matrix absent, no_rows, no_cols;
  no_rows.set_cols(3);
  no_cols.set_rows(3);
  EXPECT_TRUE(IsAbsent(absent));
  EXPECT_THAT(std::string(Check(absent).message()), HasSubstr("rows: is required"));
  EXPECT_THAT(std::string(Check(no_rows).message()), HasSubstr("rows.rows: is 0"));
  EXPECT_THAT(std::string(Check(no_cols).message()), HasSubstr("rows.cols: is 0"));
}

TEST(Matrix, WithAnotherCountOfNumbersIsRefused) {
  for (const Encoding encoding : kEncodings) {
    for (const size_t rows : {size_t{1}, size_t{3}, size_t{1} << 62, ~size_t{0}}) {
      Matrix matrix = Make(encoding, 2, 2, {1, 2, 3, 4});
      matrix.set_rows(rows);
      EXPECT_EQ(Check(matrix).code(), absl::StatusCode::kInvalidArgument) << rows;
    }
  }
}

TEST(Matrix, WithTwoEncodingsIsRefused) {
  Matrix matrix = Make(density::v1::ENCODING_VALUES, 1, 1, {1});
  matrix.set_f64_le(std::string(8, '\0'));
  EXPECT_EQ(Check(matrix).code(), absl::StatusCode::kInvalidArgument);
}

TEST(FiniteCheck, NamesTheFirstBadRowAndColumn) {
  constexpr size_t kRows = 5000, kCols = 7;
  for (const Encoding encoding : kEncodings) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -1 / 0.0}) {
      for (const size_t at : {size_t{0}, size_t{6}, size_t{1234}, kRows * kCols - 1}) {
        std::vector<double> numbers(kRows * kCols, 1.5);
        numbers[at] = bad;
        numbers[kRows * kCols - 1] = bad;
        const absl::Status status = Check(Make(encoding, kRows, kCols, numbers));
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
        EXPECT_THAT(std::string(status.message()), HasSubstr("row " + std::to_string(at / kCols) + ":"));
        EXPECT_THAT(std::string(status.message()), HasSubstr("column " + std::to_string(at % kCols) + " is"));
      }
    }
  }
}

TEST(FiniteCheck, AcceptsEveryFiniteNumber) {
  using Limits = std::numeric_limits<float>;
  for (const Encoding encoding : kEncodings) {
    EXPECT_TRUE(
        Check(Make(encoding, 1, 6, {0, -0.0, Limits::denorm_min(), Limits::max(), Limits::lowest(), 1e-30})).ok());
  }
}

TEST(FiniteCheck, KeepsNumbersBeyondFloat32OutOfFloat32Computations) {
  const Matrix matrix = Make(density::v1::ENCODING_F64_LE, 2, 1, {1, 1e300});
  const absl::Status status = Check(matrix, NumberType::kFloat32);
  EXPECT_THAT(std::string(status.message()), HasSubstr("row 1:"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("PRECISION_FLOAT64"));
  EXPECT_TRUE(Check(matrix, NumberType::kFloat64).ok());
  EXPECT_EQ(NonFiniteRows(*ViewRows("rows", matrix), NumberType::kFloat32), std::vector<size_t>{1});
  EXPECT_TRUE(NonFiniteRows(*ViewRows("rows", matrix), NumberType::kFloat64).empty());
}

TEST(Enums, OutsideTheirRangeAreRefused) {
  EXPECT_FALSE(ResolveEncoding("encoding", static_cast<Encoding>(9), density::v1::ENCODING_VALUES).ok());
  EXPECT_FALSE(ResolvePrecision("precision", static_cast<density::v1::Precision>(9)).ok());
  EXPECT_EQ(*ResolveEncoding("encoding", density::v1::ENCODING_UNSPECIFIED, density::v1::ENCODING_F32_LE),
            density::v1::ENCODING_F32_LE);
  EXPECT_EQ(*ResolvePrecision("precision", density::v1::PRECISION_FLOAT64), NumberType::kFloat64);
}

}  // namespace
}  // namespace densityd::rpc
