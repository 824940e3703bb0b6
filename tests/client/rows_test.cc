// Rows through the client: encodings, chunks, versions and seeds.
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace densityd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

/// The numbers of a request's matrix, as float64.
std::vector<double> Numbers(const v1::Matrix& matrix) {
  std::vector<double> numbers(matrix.rows() * matrix.cols());
  if (numbers.empty()) return numbers;  // memcpy does not take the address of nothing
  if (!matrix.f64_le().empty()) {
    EXPECT_EQ(matrix.f64_le().size(), numbers.size() * 8);
    std::memcpy(numbers.data(), matrix.f64_le().data(), numbers.size() * 8);
  } else {
    EXPECT_EQ(matrix.f32_le().size(), numbers.size() * 4);
    std::vector<float> floats(numbers.size());
    std::memcpy(floats.data(), matrix.f32_le().data(), floats.size() * 4);
    numbers.assign(floats.begin(), floats.end());
  }
  return numbers;
}

std::vector<double> RowSums(const v1::Matrix& matrix) {
  const std::vector<double> numbers = Numbers(matrix);
  std::vector<double> sums;
  for (size_t i = 0; i < numbers.size(); i += matrix.cols()) {
    sums.push_back(std::accumulate(numbers.begin() + i, numbers.begin() + i + matrix.cols(), 0.0));
  }
  return sums;
}

/// A model whose log p is the sum of a row and of its context; z = x + 1 and x = z - 1; samples count up from the seed.
class RowsTest : public testing::Test {
 protected:
  RowsTest() {
    server_.estimator.log_prob = [this](grpc::ServerContext&, const v1::LogProbRequest& request,
                                        v1::LogProbResponse& response) {
      log_prob_requests_.push_back(request);
      Answered(response.mutable_model());
      std::vector<double> sums = RowSums(request.rows());
      const std::vector<double> context = RowSums(request.context());
      for (size_t i = 0; i < sums.size(); ++i) {
        if (!context.empty()) sums[i] += context.size() == 1 ? context[0] : context.at(i);
      }
      response.mutable_log_prob()->set_f64_le(sums.data(), sums.size() * sizeof(double));
      for (double sum : sums) {
        if (request.tail_probability()) response.mutable_tail_probability()->add_values(static_cast<float>(sum / 1024));
      }
      return grpc::Status::OK;
    };
    server_.estimator.inverse = [this](grpc::ServerContext&, const v1::InverseRequest& request,
                                       v1::InverseResponse& response) { return Shift(request, response, 1); };
    server_.estimator.forward = [this](grpc::ServerContext&, const v1::ForwardRequest& request,
                                       v1::ForwardResponse& response) { return Shift(request, response, -1); };
    server_.estimator.score = [this](grpc::ServerContext&, const v1::ScoreRequest& request,
                                     v1::ScoreResponse& response) {
      Answered(response.mutable_model());
      response.mutable_score()->set_rows(request.rows().rows());
      response.mutable_score()->set_cols(request.rows().cols());
      for (double number : Numbers(request.rows())) {
        response.mutable_score()->add_values(static_cast<float>(-10 * number));
      }
      for (double sum : RowSums(request.rows())) response.mutable_log_prob()->add_values(static_cast<float>(sum));
      return grpc::Status::OK;
    };
    server_.estimator.sample = [this](grpc::ServerContext&, const v1::SampleRequest& request,
                                      v1::SampleResponse& response) {
      sample_requests_.push_back(request);
      Answered(response.mutable_model());
      response.set_seed(request.has_seed() ? request.seed() : 77);
      response.mutable_rows()->set_rows(request.rows());
      response.mutable_rows()->set_cols(2);
      for (uint64_t i = 0; i < request.rows(); ++i) {
        response.mutable_rows()->add_values(static_cast<float>(response.seed()));
        response.mutable_rows()->add_values(static_cast<float>(request.row_offset() + i));
        if (request.log_prob()) response.mutable_log_prob()->add_values(-static_cast<float>(i));
      }
      return grpc::Status::OK;
    };
    server_.registry.get = [](grpc::ServerContext&, const v1::GetModelRequest&, v1::ModelDetail& detail) {
      detail.mutable_info()->set_features(2);
      return grpc::Status::OK;
    };
  }

  /// Says version 3 first, and a later one with every call to an alias: as if the alias moved all the time.
  void Answered(v1::ModelVersion* model) {
    model->set_name("power");
    model->set_version(3 + answers_++);
  }

  template <typename Request, typename Response>
  grpc::Status Shift(const Request& request, Response& response, double shift) {
    Answered(response.mutable_model());
    response.mutable_rows()->set_rows(request.rows().rows());
    response.mutable_rows()->set_cols(request.rows().cols());
    for (double number : Numbers(request.rows())) {
      response.mutable_rows()->add_values(static_cast<float>(number + shift));
    }
    for (double sum : RowSums(request.rows())) response.mutable_log_abs_det()->add_values(static_cast<float>(sum));
    return grpc::Status::OK;
  }

  Client Chunked(size_t rows) const {
    ClientOptions options = server_.options();
    options.max_request_rows = rows;
    return *Client::Connect(options);
  }

  FakeServer server_;
  std::vector<v1::LogProbRequest> log_prob_requests_;
  std::vector<v1::SampleRequest> sample_requests_;
  uint64_t answers_ = 0;
};

TEST_F(RowsTest, FloatsTravelAsFloat32AndDoublesAsFloat64) {
  Client client = server_.Connect();
  const std::vector<float> floats = {1, 2, 3, 4};
  auto as_float = client.LogProb("power", {floats, 2});
  ASSERT_TRUE(as_float.ok()) << as_float.status();
  EXPECT_THAT(as_float->log_prob, ElementsAre(3.0f, 7.0f));
  EXPECT_THAT(log_prob_requests_[0].rows().f32_le(), SizeIs(16));

  const std::vector<double> doubles = {1, 0x1p-40, 3, 4};
  auto as_double = client.LogProb("power", {doubles, 2});
  ASSERT_TRUE(as_double.ok()) << as_double.status();
  EXPECT_THAT(as_double->log_prob, ElementsAre(1 + 0x1p-40, 7.0));
  EXPECT_THAT(log_prob_requests_[1].rows().f64_le(), SizeIs(32));
}

TEST_F(RowsTest, OptionsReachTheServer) {
  Client client = server_.Connect();
  const std::vector<float> rows = {1, 2, 3, 4};
  const std::vector<float> context = {10, 20};
  auto answer = client.LogProb("power@stable", {rows, 2},
                               {.context = {context, 1}, .tail_probability = true, .precision = Precision::kFloat64});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(log_prob_requests_[0].model(), "power@stable");
  EXPECT_EQ(log_prob_requests_[0].precision(), v1::PRECISION_FLOAT64);
  EXPECT_THAT(answer->log_prob, ElementsAre(13.0f, 27.0f));
  EXPECT_THAT(answer->tail_probability, ElementsAre(13.0f / 1024, 27.0f / 1024));
  EXPECT_EQ(answer->model.ToString(), "power@3");
}

TEST_F(RowsTest, AnAnswerInChunksIsTheAnswerInOne) {
  std::vector<double> rows(2 * 101);
  std::iota(rows.begin(), rows.end(), 0.0);
  std::vector<double> context(101);
  std::iota(context.begin(), context.end(), 0.5);
  const LogProbOptions<double> options = {.context = {context, 1}, .tail_probability = true};
  auto whole = server_.Connect().LogProb("power", {rows, 2}, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (size_t chunk : {1, 7, 100, 101}) {
    log_prob_requests_.clear();
    auto chunked = Chunked(chunk).LogProb("power", {rows, 2}, options);
    ASSERT_TRUE(chunked.ok()) << chunked.status();
    EXPECT_EQ(chunked->log_prob, whole->log_prob);
    EXPECT_EQ(chunked->tail_probability, whole->tail_probability);
    EXPECT_THAT(log_prob_requests_, SizeIs((101 + chunk - 1) / chunk));
  }
}

TEST_F(RowsTest, OneContextForAllRowsGoesWithEveryChunk) {
  const std::vector<float> rows = {1, 2, 3};
  const std::vector<float> context = {100};
  auto answer = Chunked(1).LogProb("power", {rows, 1}, {.context = {context, 1}});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(answer->log_prob, ElementsAre(101.0f, 102.0f, 103.0f));
}

TEST_F(RowsTest, AllChunksAskTheVersionThatAnsweredTheFirst) {
  const std::vector<float> rows = {1, 2, 3};
  auto answer = Chunked(1).LogProb("power@stable", {rows, 1});
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_THAT(log_prob_requests_, SizeIs(3));
  EXPECT_EQ(log_prob_requests_[0].model(), "power@stable");
  EXPECT_EQ(log_prob_requests_[1].model(), "power@3");
  EXPECT_EQ(log_prob_requests_[2].model(), "power@3");
  EXPECT_EQ(answer->model, (ModelVersion{"power", 3}));
}

TEST_F(RowsTest, NoMessageIsLargerThanTheLimit) {
  ClientOptions options = server_.options();
  options.max_message_bytes = 16384;
  Client client = *Client::Connect(options);
  const std::vector<double> rows(50 * 500, 1.0);
  ASSERT_TRUE(client.LogProb("power", {rows, 50}).ok());
  EXPECT_GT(log_prob_requests_.size(), 12u);
  for (const v1::LogProbRequest& request : log_prob_requests_) EXPECT_LE(request.ByteSizeLong(), 16384u);
}

TEST_F(RowsTest, ARowThatFitsNoMessageIsRefusedNamingTheOption) {
  ClientOptions options = server_.options();
  options.max_message_bytes = 16384;
  const std::vector<double> rows(4096, 1.0);
  const absl::Status status = Client::Connect(options)->LogProb("power", {rows, 4096}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("max_message_bytes"));
}

TEST_F(RowsTest, InverseAndForwardReturnRowsAndLogDets) {
  const std::vector<double> rows = {1, 2, 3, 4, 5, 6};
  auto z = Chunked(2).Inverse("power", {rows, 2});
  ASSERT_TRUE(z.ok()) << z.status();
  EXPECT_THAT(z->rows.values, ElementsAre(2, 3, 4, 5, 6, 7));
  EXPECT_THAT(z->log_abs_det, ElementsAre(3, 7, 11));
  auto x = Chunked(2).Forward("power", z->rows);
  ASSERT_TRUE(x.ok()) << x.status();
  EXPECT_EQ(x->rows.values, rows);
  EXPECT_EQ(x->rows.rows, 3u);
  EXPECT_THAT(x->rows[1], ElementsAre(3, 4));
}

TEST_F(RowsTest, ScoreReturnsGradientsAndDensities) {
  const std::vector<double> rows = {1, 2, 3, 4, 5, 6};
  const auto answer = Chunked(2).Score("power", {rows, 2});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->model.version, 3u);
  EXPECT_EQ(answer->score.rows, 3u);
  EXPECT_EQ(answer->score.cols, 2u);
  EXPECT_THAT(answer->score.values, ElementsAre(-10, -20, -30, -40, -50, -60));
  EXPECT_THAT(answer->log_prob, ElementsAre(3, 7, 11));
}

TEST_F(RowsTest, ASampleInChunksIsTheSampleInOne) {
  auto whole = server_.Connect().Sample("power", 100, {.seed = 5, .row_offset = 10});
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_THAT(sample_requests_, SizeIs(1));
  auto chunked = Chunked(7).Sample("power", 100, {.seed = 5, .row_offset = 10});
  ASSERT_TRUE(chunked.ok()) << chunked.status();
  EXPECT_EQ(chunked->rows.values, whole->rows.values);
  EXPECT_EQ(chunked->seed, 5u);
  EXPECT_EQ(whole->rows[99][1], 109);
}

TEST_F(RowsTest, ChunksOfASampleShareTheSeedThatTheServerDrew) {
  auto sample = Chunked(3).Sample<double>("power", 20, {.log_prob = true});
  ASSERT_TRUE(sample.ok()) << sample.status();
  EXPECT_EQ(sample->seed, 77u);
  EXPECT_FALSE(sample_requests_[0].has_seed());
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(sample->rows[i][0], 77);
    EXPECT_EQ(sample->rows[i][1], i);
  }
  EXPECT_THAT(sample->log_prob, SizeIs(20));
  EXPECT_EQ(sample_requests_[1].model(), "power@3");
  EXPECT_EQ(sample_requests_[1].encoding(), v1::ENCODING_F64_LE);
}

TEST_F(RowsTest, WrongShapesAreRefusedBeforeSending) {
  Client client = server_.Connect();
  const std::vector<float> five(5);
  const std::vector<float> none;
  EXPECT_THAT(client.LogProb("power", {five, 2}).status().message(), HasSubstr("5 numbers are no rows of 2 columns"));
  EXPECT_THAT(client.LogProb("power", {five, 0}).status().message(), HasSubstr("5 numbers are no rows of 0 columns"));
  EXPECT_THAT(client.LogProb("power", {none, 2}).status().message(), HasSubstr("at least one"));
  EXPECT_THAT(client.Sample("power", 0).status().message(), HasSubstr("at least one"));
  const std::vector<float> two(2);
  EXPECT_THAT(client.LogProb("power", {five, 1}, {.context = {two, 1}}).status().message(),
              HasSubstr("context: has 2 rows"));
  EXPECT_THAT(log_prob_requests_, SizeIs(0));
}

TEST_F(RowsTest, AnAnswerOfAnotherShapeIsAnError) {
  server_.estimator.log_prob = [](grpc::ServerContext&, const v1::LogProbRequest&, v1::LogProbResponse& response) {
    response.mutable_log_prob()->set_f32_le("12345");
    return grpc::Status::OK;
  };
  const std::vector<float> rows = {1, 2};
  const absl::Status status = server_.Connect().LogProb("power", {rows, 1}).status();
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_THAT(status.message(), HasSubstr("log_prob"));
}

TEST_F(RowsTest, AnErrorInALaterChunkSaysWhereItsRowNumbersCountFrom) {
  server_.estimator.log_prob = [this](grpc::ServerContext&, const v1::LogProbRequest& request,
                                      v1::LogProbResponse& response) -> grpc::Status {
    if (Numbers(request.rows())[0] == 3) return {grpc::StatusCode::INVALID_ARGUMENT, "rows: row 0: bad"};
    Answered(response.mutable_model());
    response.mutable_log_prob()->add_values(0);
    return grpc::Status::OK;
  };
  const std::vector<float> rows = {1, 2, 3};
  const absl::Status status = Chunked(1).LogProb("power", {rows, 1}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(), "rows: row 0: bad (in the part that begins at row 2; row numbers count from there)");
}

}  // namespace
}  // namespace densityd
