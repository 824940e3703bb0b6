// LogProb, Sample, Inverse and Forward through real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::Encoding;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

density::v1::Matrix Encode(Encoding encoding, size_t cols, const std::vector<double>& values) {
  density::v1::Matrix matrix;
  matrix.set_rows(values.size() / cols);
  matrix.set_cols(cols);
  const std::vector<float> floats(values.begin(), values.end());
  const auto bytes = [](const auto& numbers) {
    return std::string(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(numbers[0]));
  };
  if (encoding == density::v1::ENCODING_F32_LE) {
    matrix.set_f32_le(bytes(floats));
  } else if (encoding == density::v1::ENCODING_F64_LE) {
    matrix.set_f64_le(bytes(values));
  } else {
    matrix.mutable_values()->Add(floats.begin(), floats.end());
  }
  return matrix;
}

/// The numbers of a Matrix or Vector; exactly one encoding must be set, and it must be `encoding`.
template <typename Message>
std::vector<double> Decode(Encoding encoding, const Message& message) {
  EXPECT_EQ(message.values_size() > 0, encoding == density::v1::ENCODING_VALUES);
  EXPECT_EQ(!message.f32_le().empty(), encoding == density::v1::ENCODING_F32_LE);
  EXPECT_EQ(!message.f64_le().empty(), encoding == density::v1::ENCODING_F64_LE);
  if (!message.f64_le().empty()) {
    std::vector<double> numbers(message.f64_le().size() / 8);
    std::memcpy(numbers.data(), message.f64_le().data(), message.f64_le().size());
    return numbers;
  }
  std::vector<float> numbers(message.values().begin(), message.values().end());
  if (!message.f32_le().empty()) {
    numbers.resize(message.f32_le().size() / 4);
    std::memcpy(numbers.data(), message.f32_le().data(), message.f32_le().size());
  }
  return {numbers.begin(), numbers.end()};
}

class RowRpcTest : public ::testing::TestWithParam<Encoding> {
 protected:
  RowRpcTest() { server_.Publish("power", 2); }

  TestServer server_;
};

TEST_P(RowRpcTest, LogProbAnswersInTheEncodingOfTheRows) {
  density::v1::LogProbRequest request;
  request.set_model("power");
  *request.mutable_rows() = Encode(GetParam(), 2, {0, 0, 1, 2, -3, 1});
  request.set_tail_probability(true);
  density::v1::LogProbResponse response;
  const grpc::Status status = server_.estimator().LogProb(Context().get(), request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.model().name(), "power");
  EXPECT_EQ(response.model().version(), 1u);
  EXPECT_EQ(Decode(GetParam(), response.log_prob()), (std::vector<double>{0, -2.5, -5}));
  EXPECT_EQ(Decode(GetParam(), response.tail_probability()), (std::vector<double>{1, 0.75, 0.5}));
}

TEST_P(RowRpcTest, RowsThatAreNotFiniteAreAnsweredWithNanWhereTheCallerAcceptsThem) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  density::v1::LogProbRequest request;
  request.set_model("power");
  *request.mutable_rows() = Encode(GetParam(), 2, {kNan, 0, 1, 2, -kInf, 1, -3, 1, 0, kInf});
  request.set_tail_probability(true);
  request.set_standard_error(true);
  density::v1::LogProbResponse response;
  EXPECT_EQ(server_.estimator().LogProb(Context().get(), request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  request.set_accept_non_finite(true);
  const grpc::Status status = server_.estimator().LogProb(Context().get(), request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto is_nan = ::testing::IsNan();
  EXPECT_THAT(Decode(GetParam(), response.log_prob()), ElementsAre(is_nan, -2.5, is_nan, -5, is_nan));
  EXPECT_THAT(Decode(GetParam(), response.tail_probability()), ElementsAre(is_nan, 0.75, is_nan, 0.5, is_nan));
  EXPECT_THAT(Decode(GetParam(), response.standard_error()), ElementsAre(is_nan, 0, is_nan, 0, is_nan));
  // A request of nothing else.
  *request.mutable_rows() = Encode(GetParam(), 2, {kNan, kNan});
  ASSERT_TRUE(server_.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_THAT(Decode(GetParam(), response.log_prob()), ElementsAre(is_nan));
}

TEST_P(RowRpcTest, LogProbSaysHowFarAnEstimateIsOff) {
  server_.Publish("wide", kFakeEstimateFeatures);
  density::v1::LogProbRequest request;
  request.set_standard_error(true);
  request.set_tail_probability(true);
  request.set_model("wide");
  *request.mutable_rows() = Encode(GetParam(), kFakeEstimateFeatures, {0, 1, 2, 3, -5, 0, 0, 0});
  density::v1::LogProbResponse response;
  ASSERT_TRUE(server_.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_EQ(Decode(GetParam(), response.log_prob()), (std::vector<double>{-7, -12.5}));
  EXPECT_EQ(Decode(GetParam(), response.standard_error()), (std::vector<double>{0, 0.5}));
  EXPECT_EQ(Decode(GetParam(), response.tail_probability()).size(), 2u);
  // Where log p is exact it is not off.
  request.set_model("power");
  *request.mutable_rows() = Encode(GetParam(), 2, {0, 0, 1, 2, -3, 1});
  response.Clear();
  ASSERT_TRUE(server_.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_EQ(Decode(GetParam(), response.log_prob()), (std::vector<double>{0, -2.5, -5}));
  EXPECT_EQ(Decode(GetParam(), response.standard_error()), (std::vector<double>{0, 0, 0}));
  request.set_standard_error(false);
  response.Clear();
  ASSERT_TRUE(server_.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_FALSE(response.has_standard_error());
}

TEST_P(RowRpcTest, InverseAndForwardAreEachOthersInverse) {
  density::v1::InverseRequest inverse;
  inverse.set_model("power@1");
  *inverse.mutable_rows() = Encode(GetParam(), 2, {1, 2, 3, 4});
  density::v1::InverseResponse z;
  ASSERT_TRUE(server_.estimator().Inverse(Context().get(), inverse, &z).ok());
  EXPECT_EQ(Decode(GetParam(), z.rows()), (std::vector<double>{2, 4, 6, 8}));

  density::v1::ForwardRequest forward;
  forward.set_model("power@latest");
  *forward.mutable_rows() = z.rows();
  density::v1::ForwardResponse x;
  ASSERT_TRUE(server_.estimator().Forward(Context().get(), forward, &x).ok());
  EXPECT_EQ(Decode(GetParam(), x.rows()), (std::vector<double>{1, 2, 3, 4}));
  const std::vector<double> up = Decode(GetParam(), z.log_abs_det());
  const std::vector<double> down = Decode(GetParam(), x.log_abs_det());
  for (size_t row = 0; row < 2; ++row) EXPECT_EQ(up[row], -down[row]);
}

TEST_P(RowRpcTest, ScoreIsAnsweredInFloat64WhateverIsAsked) {
  for (const auto precision : {density::v1::PRECISION_FLOAT32, density::v1::PRECISION_FLOAT64}) {
    density::v1::ScoreRequest request;
    request.set_model("power");
    request.set_precision(precision);
    *request.mutable_rows() = Encode(GetParam(), 2, {0, 0, 1, 2, -3, 1});
    density::v1::ScoreResponse response;
    const grpc::Status status = server_.estimator().Score(Context().get(), request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.model().version(), 1u);
    EXPECT_EQ(response.score().rows(), 3u);
    EXPECT_EQ(Decode(GetParam(), response.score()), (std::vector<double>{0, 0, -1, -2, 3, -1}));
    EXPECT_EQ(Decode(GetParam(), response.log_prob()), (std::vector<double>{0, -2.5, -5}));
  }
}

TEST_P(RowRpcTest, SampleNamesItsRowsBySeedAndOffset) {
  density::v1::SampleRequest request;
  request.set_model("power");
  request.set_rows(200);
  request.set_seed(5);
  request.set_log_prob(true);
  request.set_encoding(GetParam());
  density::v1::SampleResponse all;
  ASSERT_TRUE(server_.estimator().Sample(Context().get(), request, &all).ok());
  EXPECT_EQ(all.seed(), 5u);
  EXPECT_EQ(all.rows().rows(), 200u);
  const std::vector<double> rows = Decode(GetParam(), all.rows());
  ASSERT_EQ(rows.size(), 400u);
  EXPECT_EQ(Decode(GetParam(), all.log_prob()).size(), 200u);
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_FLOAT_EQ(rows[i], FakeSample(5, i / 2, i % 2)) << i;

  request.set_rows(50);
  request.set_row_offset(120);
  density::v1::SampleResponse part;
  ASSERT_TRUE(server_.estimator().Sample(Context().get(), request, &part).ok());
  EXPECT_EQ(Decode(GetParam(), part.rows()), std::vector<double>(rows.begin() + 240, rows.begin() + 340));
}

INSTANTIATE_TEST_SUITE_P(Encodings, RowRpcTest,
                         ::testing::Values(density::v1::ENCODING_VALUES, density::v1::ENCODING_F32_LE,
                                           density::v1::ENCODING_F64_LE));

TEST(SampleRpc, DrawsAndReturnsASeedWhereNoneIsGiven) {
  TestServer server;
  server.Publish("power", 1);
  density::v1::SampleRequest request;
  request.set_model("power");
  request.set_rows(1);
  density::v1::SampleResponse first, second;
  ASSERT_TRUE(server.estimator().Sample(Context().get(), request, &first).ok());
  ASSERT_TRUE(server.estimator().Sample(Context().get(), request, &second).ok());
  EXPECT_NE(first.seed(), second.seed());
  request.set_seed(first.seed());
  ASSERT_TRUE(server.estimator().Sample(Context().get(), request, &second).ok());
  EXPECT_EQ(first.rows().values(0), second.rows().values(0));
}

TEST(LogProbRpc, RefusesRowsOutsideTheSupportWhereItIsAskedTo) {
  TestServer server;
  server.Publish("power", 2);
  density::v1::LogProbRequest request;
  request.set_model("power");
  request.set_precision(density::v1::PRECISION_FLOAT64);
  request.set_accept_non_finite(true);
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kOutside = 1e200;  // The fake's density is zero there.
  *request.mutable_rows() = Encode(density::v1::ENCODING_F64_LE, 2, {kNan, 0, 1, 2, kOutside, 0, kOutside, 1});
  density::v1::LogProbResponse response;
  ASSERT_TRUE(server.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_THAT(Decode(density::v1::ENCODING_F64_LE, response.log_prob()),
              ElementsAre(::testing::IsNan(), -2.5, -std::numeric_limits<double>::infinity(),
                          -std::numeric_limits<double>::infinity()));
  request.set_refuse_outside_support(true);
  response.Clear();
  const grpc::Status refused = server.estimator().LogProb(Context().get(), request, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("rows: row 2: is outside the model's support"));
  // Rows that have a density are answered, and those that are not finite are none that lie outside.
  *request.mutable_rows() = Encode(density::v1::ENCODING_F64_LE, 2, {kNan, 0, 1, 2});
  ASSERT_TRUE(server.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_THAT(Decode(density::v1::ENCODING_F64_LE, response.log_prob()), ElementsAre(::testing::IsNan(), -2.5));
}

TEST(ContextRows, AreOnePerRowOrOneForAll) {
  TestServer server;
  server.Publish("power", 1, /*context=*/2);
  density::v1::LogProbRequest request;
  request.set_model("power");
  *request.mutable_rows() = Rows(1, {0, 0, 0});
  *request.mutable_context() = Rows(2, {1, 0, 2, 0, 3, 0});
  density::v1::LogProbResponse response;
  ASSERT_TRUE(server.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_THAT(response.log_prob().values(), ::testing::ElementsAre(-1, -2, -3));
  *request.mutable_context() = Rows(2, {1, 4});
  ASSERT_TRUE(server.estimator().LogProb(Context().get(), request, &response).ok());
  EXPECT_THAT(response.log_prob().values(), ::testing::ElementsAre(-5, -5, -5));
}

TEST(Versions, AnswerUnderNumberAliasAndLatest) {
  TestServer server;
  server.Publish("power", 1);
  server.Publish("power", 1);
  density::v1::SetAliasRequest alias;
  alias.set_name("power");
  alias.set_alias("stable");
  alias.set_version(1);
  density::v1::Aliases aliases;
  ASSERT_TRUE(server.registry().SetAlias(Context().get(), alias, &aliases).ok());
  for (const auto& [model, version] :
       {std::pair("power", 2u), std::pair("power@1", 1u), std::pair("power@stable", 1u)}) {
    density::v1::LogProbRequest request;
    request.set_model(model);
    *request.mutable_rows() = Rows(1, {1});
    density::v1::LogProbResponse response;
    const grpc::Status status = server.estimator().LogProb(Context().get(), request, &response);
    ASSERT_TRUE(status.ok()) << model << ": " << status.error_message();
    EXPECT_EQ(response.model().version(), version) << model;
  }
}

}  // namespace
}  // namespace densityd::rpc
