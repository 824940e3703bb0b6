// StreamSample and StreamLogProb through real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::LogProbRequest;
using density::v1::LogProbResponse;
using density::v1::SampleResponse;
using density::v1::StreamSampleRequest;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kEndless = uint64_t{1} << 50;

StreamSampleRequest SampleOf(uint64_t rows, uint64_t chunk_rows = 0) {
  StreamSampleRequest request;
  request.mutable_sample()->set_model("power");
  request.mutable_sample()->set_rows(rows);
  request.mutable_sample()->set_seed(5);
  request.set_chunk_rows(chunk_rows);
  return request;
}

LogProbRequest RowsOf(const std::vector<float>& values, const std::string& model = "power") {
  LogProbRequest request;
  request.set_model(model);
  *request.mutable_rows() = Rows(1, values);
  return request;
}

/// What a sample's stream gave, until it ended.
struct Sampled {
  std::vector<uint64_t> chunks;  ///< rows of each
  std::vector<float> values;
  grpc::Status status;
};

Sampled ReadAll(TestServer& server, const StreamSampleRequest& request) {
  Sampled sampled;
  const auto context = Context();
  const auto reader = server.estimator().StreamSample(context.get(), request);
  SampleResponse chunk;
  while (reader->Read(&chunk)) {
    sampled.chunks.push_back(chunk.rows().rows());
    sampled.values.insert(sampled.values.end(), chunk.rows().values().begin(), chunk.rows().values().end());
    EXPECT_EQ(chunk.seed(), 5u);
    EXPECT_EQ(chunk.model().version(), 1u);
  }
  sampled.status = reader->Finish();
  return sampled;
}

/// Asks until the server's metrics say `line`. Every question is a call that the server answers in between.
void AwaitMetric(TestServer& server, const std::string& line) {
  while (server.metrics().Text().find(line) == std::string::npos) server.Sync();
}

class RowStreamTest : public ::testing::Test {
 protected:
  RowStreamTest() : server_({.workers = 2, .limits = {.max_request_rows = 100'000}}) { server_.Publish("power", 1); }

  /// One row by a call of its own.
  void ExpectAnswers() {
    LogProbResponse response;
    const grpc::Status status = server_.estimator().LogProb(Context().get(), RowsOf({2}), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.log_prob().values(0), -2);
  }

  TestServer server_;
};

TEST_F(RowStreamTest, ASampleHasTheSameRowsHoweverItIsCut) {
  for (const auto& [rows, chunk_rows] : std::vector<std::pair<uint64_t, uint64_t>>{
           {1, 0}, {1000, 1}, {1000, 7}, {1000, 64}, {1000, 999}, {1000, 5000}, {20'000, 0}}) {
    StreamSampleRequest request = SampleOf(rows, chunk_rows);
    request.mutable_sample()->set_row_offset(120);
    const Sampled sampled = ReadAll(server_, request);
    ASSERT_TRUE(sampled.status.ok()) << sampled.status.error_message();
    const uint64_t expected = std::min<uint64_t>(rows, chunk_rows == 0 ? 4096 : chunk_rows);
    for (size_t i = 0; i + 1 < sampled.chunks.size(); ++i) EXPECT_EQ(sampled.chunks[i], expected);
    ASSERT_EQ(sampled.values.size(), rows);
    for (uint64_t row = 0; row < rows; ++row) {
      ASSERT_FLOAT_EQ(sampled.values[row], FakeSample(5, 120 + row, 0)) << row << " of chunks of " << chunk_rows;
    }
  }
}

TEST_F(RowStreamTest, AllChunksOfASampleShareTheSeedThatWasDrawn) {
  StreamSampleRequest request = SampleOf(100, 10);
  request.mutable_sample()->clear_seed();
  const auto context = Context();
  const auto reader = server_.estimator().StreamSample(context.get(), request);
  SampleResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  const uint64_t seed = chunk.seed();
  while (reader->Read(&chunk)) EXPECT_EQ(chunk.seed(), seed);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(RowStreamTest, ContextForEachRowOfASampleGoesWithItsChunk) {
  server_.Publish("weather", 1, /*context=*/1);
  StreamSampleRequest request = SampleOf(5, 2);
  request.mutable_sample()->set_model("weather");
  request.mutable_sample()->set_log_prob(true);
  *request.mutable_sample()->mutable_context() = Rows(1, {1, 2, 3, 4, 5});
  const auto context = Context();
  const auto reader = server_.estimator().StreamSample(context.get(), request);
  SampleResponse chunk;
  int row = 0;
  while (reader->Read(&chunk)) {
    for (int i = 0; i < chunk.log_prob().values_size(); ++i, ++row) {
      const float x = chunk.rows().values(i);
      EXPECT_FLOAT_EQ(chunk.log_prob().values(i), -x * x / 2 - static_cast<float>(row + 1));
    }
  }
  EXPECT_EQ(row, 5);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(RowStreamTest, ASampleThatIsWrongIsRefusedBeforeAnythingIsComputed) {
  const auto message = [this](const StreamSampleRequest& request) {
    const Sampled sampled = ReadAll(server_, request);
    EXPECT_EQ(sampled.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_TRUE(sampled.chunks.empty());
    return sampled.status.error_message();
  };
  EXPECT_THAT(message(SampleOf(0)), HasSubstr("at least one row"));
  EXPECT_THAT(message(SampleOf(kEndless, 100'001)),
              HasSubstr("chunk_rows: is 100001; the server's --max-request-rows"));
  StreamSampleRequest beyond = SampleOf(10);
  beyond.mutable_sample()->set_row_offset(~uint64_t{0} - 5);
  EXPECT_THAT(message(beyond), HasSubstr("2^64 - 1"));
  StreamSampleRequest context = SampleOf(kEndless);
  *context.mutable_sample()->mutable_context() = Rows(1, {1});
  EXPECT_THAT(message(context), HasSubstr("no context"));
  StreamSampleRequest unknown = SampleOf(10);
  unknown.mutable_sample()->set_model("nobody");
  EXPECT_EQ(ReadAll(server_, unknown).status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(server_.probe().rows(), 0u);
}

TEST_F(RowStreamTest, ASlowReaderHoldsTheStreamUpAtTheCostOfAFewChunks) {
  constexpr uint64_t kChunk = 100'000;  // 400 kB
  const auto context = Context();
  const auto reader = server_.estimator().StreamSample(context.get(), SampleOf(kEndless, kChunk));
  SampleResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  // Time for hundreds of chunks, if the server took it. The sockets' buffers grow to 10 MB and hold some of them.
  for (int i = 0; i < 200; ++i) ExpectAnswers();
  EXPECT_LE(server_.probe().rows(), 40 * kChunk);
  for (uint64_t next = kChunk; next < 60 * kChunk; next += kChunk) {
    ASSERT_TRUE(reader->Read(&chunk));
    ASSERT_FLOAT_EQ(chunk.rows().values(0), FakeSample(5, next, 0));
  }
  context->TryCancel();
}

TEST_F(RowStreamTest, ACancelledSampleIsComputedNoFurther) {
  const auto context = Context();
  const auto reader = server_.estimator().StreamSample(context.get(), SampleOf(kEndless, 64));
  SampleResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  context->TryCancel();
  while (reader->Read(&chunk)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  AwaitMetric(server_, "densityd_requests_total{code=\"CANCELLED\",method=\"DensityEstimator/StreamSample\"} 1");
  ExpectAnswers();
  const size_t rows = server_.probe().rows();
  for (int i = 0; i < 20; ++i) ExpectAnswers();
  EXPECT_EQ(server_.probe().rows(), rows + 20);
}

TEST_F(RowStreamTest, ADeadlineEndsAStream) {
  const auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(50)));
  const auto reader = server_.estimator().StreamSample(context.get(), SampleOf(kEndless, 64));
  SampleResponse chunk;
  while (reader->Read(&chunk)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // To the server it is a cancellation where the caller's clock was faster.
  AwaitMetric(server_, "densityd_request_seconds_count{method=\"DensityEstimator/StreamSample\"} 1");
}

TEST_F(RowStreamTest, ChunksOfRowsAreAnsweredInOrderByOneVersion) {
  const auto context = Context();
  const auto stream = server_.estimator().StreamLogProb(context.get());
  ASSERT_TRUE(stream->Write(RowsOf({1, 2})));
  LogProbResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.model().version(), 1u);
  server_.Publish("power", 1);  // `latest` moves
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(
        stream->Write(RowsOf(std::vector<float>(1 + i * 13 % 200, static_cast<float>(i)), i % 2 == 0 ? "" : "power")));
    if (i > 0) {
      ASSERT_TRUE(stream->Read(&response));
      EXPECT_EQ(response.log_prob().values_size(), 1 + (i - 1) * 13 % 200);
      EXPECT_EQ(response.log_prob().values(0), -0.5F * (i - 1) * (i - 1));
      EXPECT_EQ(response.model().version(), 1u);
    }
  }
  stream->WritesDone();
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.log_prob().values(0), -0.5F * 49 * 49);
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RowStreamTest, TwoLargeChunksFitWithoutReadingAndManySmallOnes) {
  const std::vector<float> large(100'000, 1);
  const auto context = Context();
  const auto stream = server_.estimator().StreamLogProb(context.get());
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(stream->Write(RowsOf(large)));
  LogProbResponse response;
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(stream->Read(&response));
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(stream->Write(RowsOf({static_cast<float>(i)})));
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.log_prob().values(0), -0.5F * i * i);
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RowStreamTest, AStreamWithoutAChunkIsFine) {
  const auto context = Context();
  const auto stream = server_.estimator().StreamLogProb(context.get());
  stream->WritesDone();
  LogProbResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(RowStreamTest, ABadChunkInTheMiddleIsNamedAfterTheAnswersOfThoseBeforeIt) {
  const auto context = Context();
  const auto stream = server_.estimator().StreamLogProb(context.get());
  ASSERT_TRUE(stream->Write(RowsOf({1, 2, 3})));
  ASSERT_TRUE(stream->Write(RowsOf({4})));
  stream->Write(RowsOf({5, NAN}, ""));
  stream->Write(RowsOf({6}, ""));
  LogProbResponse response;
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.log_prob().values(0), -8);
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(),
              HasSubstr("chunk 2, whose first row is row 4 of the stream: rows: row 1: column 0 is nan"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details_size() == 1 && details.details(0).UnpackTo(&bad));
  EXPECT_EQ(bad.field_violations(0).field(), "rows[1]");
  ExpectAnswers();
}

TEST_F(RowStreamTest, AStreamKeepsToTheModelOfItsFirstChunk) {
  server_.Publish("weather", 1);
  const auto context = Context();
  const auto stream = server_.estimator().StreamLogProb(context.get());
  ASSERT_TRUE(stream->Write(RowsOf({1})));
  stream->Write(RowsOf({1}, "weather"));
  LogProbResponse response;
  EXPECT_TRUE(stream->Read(&response));
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("chunk 1, whose first row is row 1 of the stream: model"));
}

TEST_F(RowStreamTest, ChunksThatWaitAreNotComputedAfterACancellation) {
  server_.probe().Hold();
  const auto context = Context();
  const auto stream = server_.estimator().StreamLogProb(context.get());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(stream->Write(RowsOf(std::vector<float>(64, 1))));
  server_.probe().AwaitRuns(1);
  context->TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_.Sync();
  server_.probe().Release();
  AwaitMetric(server_, "densityd_requests_total{code=\"CANCELLED\",method=\"DensityEstimator/StreamLogProb\"} 1");
  ExpectAnswers();
  EXPECT_LE(server_.probe().rows(), 2 * 64u + 1) << "what ran, and the row of the last call";
}

TEST_F(RowStreamTest, OtherCallsAreAnsweredWhileStreamsRun) {
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    contexts.push_back(Context());
    readers.emplace_back([this, context = contexts.back().get()] {
      const auto reader = server_.estimator().StreamSample(context, SampleOf(kEndless));
      SampleResponse chunk;
      while (reader->Read(&chunk)) {
      }
      EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
    });
  }
  for (int i = 0; i < 200; ++i) ExpectAnswers();
  for (const auto& context : contexts) context->TryCancel();
  for (std::thread& reader : readers) reader.join();
}

TEST_F(RowStreamTest, AServerThatStopsEndsStreamsAfterTheChunksInWorkAndSaysWhereToGoOn) {
  const auto sample_context = Context();
  const auto reader = server_.estimator().StreamSample(sample_context.get(), SampleOf(kEndless, 1000));
  SampleResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  const auto open_context = Context();
  const auto open = server_.estimator().StreamLogProb(open_context.get());
  ASSERT_TRUE(open->Write(RowsOf({3})));
  LogProbResponse response;
  ASSERT_TRUE(open->Read(&response));

  std::thread stopping([this] { server_.Stop(absl::Seconds(30)); });
  uint64_t rows = chunk.rows().rows();
  while (reader->Read(&chunk)) {
    EXPECT_FLOAT_EQ(chunk.rows().values(0), FakeSample(5, rows, 0));
    rows += chunk.rows().rows();
  }
  const grpc::Status sampled = reader->Finish();
  EXPECT_EQ(sampled.error_code(), grpc::StatusCode::UNAVAILABLE) << sampled.error_message();
  EXPECT_THAT(sampled.error_message(), HasSubstr(absl::StrCat(rows, " rows were answered")));
  // Its request stream was never finished.
  EXPECT_FALSE(open->Read(&response));
  const grpc::Status ended = open->Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::UNAVAILABLE) << ended.error_message();
  EXPECT_THAT(ended.error_message(), HasSubstr("1 rows were answered"));
  stopping.join();
}

TEST_F(RowStreamTest, AServerThatStopsCancelsAStreamThatNobodyReads) {
  const auto context = Context();
  const auto reader = server_.estimator().StreamSample(context.get(), SampleOf(kEndless, 100'000));
  server_.probe().AwaitRuns(100);
  server_.Stop(absl::Milliseconds(100));
  SampleResponse chunk;
  while (reader->Read(&chunk)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST(RowStreamAdmission, AStreamUnderWayWaitsForRoomInTheQueueAndANewOneIsTurnedAway) {
  // One worker: each tile that is let go is one after which it looks at what came.
  TestServer server({.workers = 1, .limits = {.max_request_rows = 100'000}, .max_queued_rows = 200'000});
  server.Publish("power", 1);
  server.probe().Hold();
  // Two chunks fill the queue.
  std::thread filling([&server] {
    const Sampled sampled = ReadAll(server, SampleOf(1'000'000, 100'000));
    EXPECT_TRUE(sampled.status.ok()) << sampled.status.error_message();
    EXPECT_EQ(sampled.values.size(), 1'000'000u);
    for (uint64_t row = 0; row < sampled.values.size(); row += 997) {
      ASSERT_FLOAT_EQ(sampled.values[row], FakeSample(5, row, 0));
    }
  });
  server.probe().AwaitRuns(1);
  const auto context = Context();
  const auto reader = server.estimator().StreamSample(context.get(), SampleOf(100'000, 100'000));
  server.Sync();
  // Between two tiles a worker looks at what came; the chunks have many, and room for another one is far.
  for (int tile = 0; tile < 100; ++tile) {
    server.probe().ReleaseOne();
    server.probe().AwaitRuns(2 + tile);
  }
  SampleResponse chunk;
  EXPECT_FALSE(reader->Read(&chunk));
  const grpc::Status refused = reader->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << refused.error_message();
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(refused.error_details()));
  EXPECT_THAT(details.DebugString(), HasSubstr("RetryInfo"));
  server.probe().Release();
  // Others fill the queue while the stream goes on.
  std::vector<std::thread> others;
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([&server] {
      for (int call = 0; call < 20; ++call) ReadAll(server, SampleOf(200'000, 100'000));
    });
  }
  for (std::thread& other : others) other.join();
  filling.join();
}

}  // namespace
}  // namespace densityd::rpc
