// Streams through the client: order, memory, and going on after a break.
#include <cstring>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace densityd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

grpc::Status Stopping() { return {grpc::StatusCode::UNAVAILABLE, "the server stops"}; }

/// A model of one column whose log p is minus the number, and whose samples count up from the seed.
class StreamTest : public testing::Test {
 protected:
  StreamTest() {
    server_.estimator.log_prob = [this](grpc::ServerContext&, const v1::LogProbRequest& request,
                                        v1::LogProbResponse& response) -> grpc::Status {
      log_prob_requests_.push_back(request);
      std::vector<float> values(request.rows().rows());
      std::memcpy(values.data(), request.rows().f32_le().data(), request.rows().f32_le().size());
      for (const float value : values) {
        if (value == 13) return {grpc::StatusCode::INVALID_ARGUMENT, "chunk 1: rows: row 0: unlucky"};
        response.mutable_log_prob()->add_values(-value);
      }
      response.mutable_model()->set_name("power");
      response.mutable_model()->set_version(3);
      return grpc::Status::OK;
    };
    server_.registry.get = [](grpc::ServerContext&, const v1::GetModelRequest&, v1::ModelDetail& detail) {
      detail.mutable_info()->set_features(1);
      return grpc::Status::OK;
    };
    server_.estimator.sample = [](grpc::ServerContext&, const v1::SampleRequest& request,
                                  v1::SampleResponse& response) {
      response.mutable_model()->set_name("power");
      response.mutable_model()->set_version(3);
      response.set_seed(request.has_seed() ? request.seed() : 77);
      response.mutable_rows()->set_rows(request.rows());
      response.mutable_rows()->set_cols(1);
      for (uint64_t i = 0; i < request.rows(); ++i) {
        response.mutable_rows()->add_values(static_cast<float>(response.seed() + request.row_offset() + i));
        if (request.log_prob()) response.mutable_log_prob()->add_values(-1);
      }
      return grpc::Status::OK;
    };
  }

  /// All rows of a sample, and what the stream ended with.
  static absl::Status ReadAll(SampleStream<float>& stream, std::vector<float>& values) {
    SampleResult<float> chunk;
    while (true) {
      const absl::StatusOr<bool> more = stream.Next(chunk);
      if (!more.ok() || !*more) return more.status();
      values.insert(values.end(), chunk.rows.values.begin(), chunk.rows.values.end());
      EXPECT_EQ(chunk.model.ToString(), "power@3");
      EXPECT_EQ(chunk.seed, 77u);
    }
  }

  FakeServer server_;
  std::vector<v1::LogProbRequest> log_prob_requests_;
};

TEST_F(StreamTest, ASampleComesInChunksUntilItsEnd) {
  Client client = server_.Connect();
  auto stream = client.StreamSample<float>("power", 10, {.row_offset = 5, .log_prob = true, .chunk_rows = 4});
  ASSERT_TRUE(stream.ok()) << stream.status();
  SampleResult<float> chunk;
  std::vector<size_t> sizes;
  while (*stream->Next(chunk)) {
    sizes.push_back(chunk.rows.rows);
    EXPECT_THAT(chunk.log_prob, SizeIs(chunk.rows.rows));
  }
  EXPECT_THAT(sizes, ElementsAre(4, 4, 2));
  EXPECT_THAT(chunk.rows.values, ElementsAre(90, 91)) << "the last chunk stays";
  EXPECT_FALSE(*stream->Next(chunk));
}

TEST_F(StreamTest, ASampleGoesOnWhereAServerStopped) {
  server_.estimator.break_after = 2;
  server_.estimator.break_with = Stopping();
  Client client = server_.Connect();
  const std::vector<float> context = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  auto stream = client.StreamSample<float>("power", 10, {.context = {context, 1}, .chunk_rows = 3});
  std::vector<float> values;
  const absl::Status status = ReadAll(*stream, values);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(values, ElementsAre(77, 78, 79, 80, 81, 82, 83, 84, 85, 86));
  ASSERT_THAT(server_.estimator.stream_sample_requests, SizeIs(2));
  const v1::SampleRequest& rest = server_.estimator.stream_sample_requests[1].sample();
  EXPECT_EQ(rest.model(), "power@3") << "an alias may have moved";
  EXPECT_EQ(rest.seed(), 77u);
  EXPECT_EQ(rest.row_offset(), 6u);
  EXPECT_EQ(rest.rows(), 4u);
  EXPECT_EQ(rest.context().rows(), 4u);
  EXPECT_EQ(rest.context().f32_le().size(), 4 * sizeof(float));
}

TEST_F(StreamTest, AnErrorEndsASampleAndStays) {
  server_.estimator.break_after = 1;
  server_.estimator.break_with = {grpc::StatusCode::DATA_LOSS, "damaged"};
  Client client = server_.Connect();
  auto stream = client.StreamSample<float>("power", 10, {.chunk_rows = 3});
  std::vector<float> values;
  EXPECT_TRUE(absl::IsDataLoss(ReadAll(*stream, values)));
  EXPECT_TRUE(absl::IsDataLoss(ReadAll(*stream, values)));
  EXPECT_THAT(values, SizeIs(3));
}

TEST_F(StreamTest, ASampleCanBeAbandoned) {
  Client client = server_.Connect();
  auto stream = client.StreamSample<float>("power", uint64_t{1} << 50);
  SampleResult<float> chunk;
  EXPECT_TRUE(*stream->Next(chunk));
}

TEST_F(StreamTest, AnswersComeInOrderAndPiecesAreCut) {
  ClientOptions options = server_.options();
  options.max_request_rows = 2;
  const absl::StatusOr<Client> client = Client::Connect(options);
  std::vector<float> answers;
  auto stream = client->StreamLogProb<float>("power", [&](const LogProbResult<float>& answer) {
    answers.insert(answers.end(), answer.log_prob.begin(), answer.log_prob.end());
    return absl::OkStatus();
  });
  ASSERT_TRUE(stream.ok()) << stream.status();
  for (const std::vector<float>& rows : {std::vector<float>{1, 2, 3, 4, 5}, std::vector<float>{6}}) {
    ASSERT_TRUE(stream->Send({rows, 1}).ok());
  }
  const absl::StatusOr<ModelVersion> model = stream->Finish();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->ToString(), "power@3");
  EXPECT_THAT(answers, ElementsAre(-1, -2, -3, -4, -5, -6));
  EXPECT_THAT(log_prob_requests_, SizeIs(4));
}

TEST_F(StreamTest, PiecesWithoutAnAnswerAreSentAgainAfterABreak) {
  server_.estimator.break_after = 3;
  server_.estimator.break_with = Stopping();
  Client client = server_.Connect();
  std::vector<float> answers;
  auto stream = client.StreamLogProb<float>("power", [&](const LogProbResult<float>& answer) {
    answers.insert(answers.end(), answer.log_prob.begin(), answer.log_prob.end());
    return absl::OkStatus();
  });
  for (float value = 1; value <= 8; ++value) {
    const std::vector<float> rows = {value};
    ASSERT_TRUE(stream->Send({rows, 1}).ok());
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_THAT(answers, ElementsAre(-1, -2, -3, -4, -5, -6, -7, -8));
  ASSERT_THAT(log_prob_requests_, SizeIs(8));
  EXPECT_EQ(log_prob_requests_[0].model(), "power");
  EXPECT_EQ(log_prob_requests_[3].model(), "power@3") << "an alias may have moved";
}

TEST_F(StreamTest, AnErrorOfTheServerOrOfTheCallerEndsTheStreamAndStays) {
  Client client = server_.Connect();
  const std::vector<float> good = {1};
  const std::vector<float> bad = {13};
  auto refused = client.StreamLogProb<float>("power", [](const LogProbResult<float>&) { return absl::OkStatus(); });
  absl::Status status = refused->Send({good, 1});
  if (status.ok()) status = refused->Send({bad, 1});
  EXPECT_TRUE(absl::IsInvalidArgument(refused->Finish().status()));
  EXPECT_THAT(refused->Send({good, 1}).message(), HasSubstr("chunk 1: rows: row 0: unlucky"));

  auto full = client.StreamLogProb<float>(
      "power", [](const LogProbResult<float>&) { return absl::ResourceExhaustedError("the disk is full"); });
  status = full->Send({good, 1});
  EXPECT_TRUE(absl::IsResourceExhausted(full->Finish().status()));
}

TEST_F(StreamTest, WrongShapesAreRefusedBeforeSending) {
  Client client = server_.Connect();
  const std::vector<float> five(5);
  EXPECT_THAT(client.StreamSample<float>("power", 0).status().message(), HasSubstr("at least one"));
  auto stream = client.StreamLogProb<float>("power", [](const LogProbResult<float>&) { return absl::OkStatus(); });
  EXPECT_THAT(stream->Send({five, 2}).message(), HasSubstr("5 numbers are no rows of 2 columns"));
  EXPECT_THAT(stream->Finish().status().message(), HasSubstr("at least one"));
  EXPECT_THAT(log_prob_requests_, IsEmpty());
}

}  // namespace
}  // namespace densityd
