#include "server/base/matrix_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace densityd {
namespace {

using density::v1::Matrix;
using ::testing::HasSubstr;

Matrix MessageOf(uint64_t rows, uint64_t cols) {
  Matrix message;
  message.set_rows(rows);
  message.set_cols(cols);
  return message;
}

TEST(MatrixMessageTest, EveryEncodingIsSeenInPlace) {
  Matrix values = MessageOf(2, 1);
  values.add_values(1.5F);
  values.add_values(-2);
  EXPECT_EQ(ViewMatrix(values, "rows")->data, values.values().data());
  EXPECT_EQ(ViewMatrix(values, "rows")->rows, 2);

  Matrix f32 = MessageOf(1, 2);
  f32.set_f32_le(std::string(8, '\0'));
  EXPECT_EQ(ViewMatrix(f32, "rows")->data, f32.f32_le().data());
  EXPECT_EQ(ViewMatrix(f32, "rows")->type, NumberType::kFloat32);

  Matrix f64 = MessageOf(1, 1);
  f64.set_f64_le(std::string(8, '\0'));
  EXPECT_EQ(ViewMatrix(f64, "rows")->type, NumberType::kFloat64);
  EXPECT_EQ(ViewMatrix(f64, "rows")->cols, 1);
}

TEST(MatrixMessageTest, NothingSetIsAnEmptyMatrix) { EXPECT_EQ(ViewMatrix(Matrix(), "rows")->data, nullptr); }

TEST(MatrixMessageTest, TwoEncodingsAreRefusedByName) {
  Matrix message = MessageOf(1, 1);
  message.add_values(1);
  message.set_f32_le(std::string(4, '\0'));
  const absl::Status status = ViewMatrix(message, "rows").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rows: sets both `values` and `f32_le`"));
}

TEST(MatrixMessageTest, AnotherCountOfNumbersIsRefused) {
  for (size_t bytes : {4, 7, 9, 12}) {
    Matrix message = MessageOf(2, 1);
    message.set_f32_le(std::string(bytes, '\0'));
    EXPECT_EQ(ViewMatrix(message, "rows").status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
  EXPECT_EQ(ViewMatrix(MessageOf(2, 1), "rows").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MatrixMessageTest, CountsThatOverflowAreRefused) {
  Matrix message = MessageOf(uint64_t{1} << 33, uint64_t{1} << 33);
  message.add_values(1);
  const absl::Status status = ViewMatrix(message, "rows").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more numbers than can be counted"));
}

}  // namespace
}  // namespace densityd
