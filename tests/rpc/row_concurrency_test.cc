// Requests at the same time: fused, cancelled, expired, drained.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "grpcpp/alarm.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::LogProbRequest;
using density::v1::LogProbResponse;

/// One LogProb call of one row under way.
struct Call {
  Call(TestServer& server, grpc::CompletionQueue& queue, float x, absl::Duration timeout = absl::Seconds(30),
       const char* model = "power") {
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    LogProbRequest request;
    request.set_model(model);
    *request.mutable_rows() = Rows(1, {x});
    reader = server.estimator().AsyncLogProb(&context, request, &queue);
    reader->Finish(&response, &status, this);
  }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<LogProbResponse>> reader;
  LogProbResponse response;
  grpc::Status status;
};

/// Waits for the next call that ends.
Call* Next(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  return queue.Next(&tag, &ok) ? static_cast<Call*>(tag) : nullptr;
}

/// What was sent before a Sync waits for the worker's next run, however busy the machine is.
constexpr absl::Duration kPatience = absl::Seconds(10);

class RowConcurrencyTest : public ::testing::Test {
 protected:
  RowConcurrencyTest() {
    server_.Publish("power", 1);
    server_.Sync();
  }

  TestServer server_{{.message_patience = kPatience}};
  grpc::CompletionQueue queue_;
};

TEST_F(RowConcurrencyTest, RequestsThatWaitTogetherAreComputedTogetherAndGetTheirOwnRows) {
  constexpr int kCalls = 16;
  server_.probe().Hold();
  Call first(server_, queue_, 100);
  server_.probe().AwaitRuns(1);
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < kCalls; ++i) calls.push_back(std::make_unique<Call>(server_, queue_, i));
  server_.Sync();
  server_.probe().Release();
  for (int i = 0; i <= kCalls; ++i) ASSERT_NE(Next(queue_), nullptr);
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(calls[i]->status.ok()) << calls[i]->status.error_message();
    EXPECT_FLOAT_EQ(calls[i]->response.log_prob().values(0), -0.5F * i * i);
  }
  EXPECT_EQ(server_.probe().most_requests(), static_cast<size_t>(kCalls));
  EXPECT_EQ(server_.probe().rows(), kCalls + 1u);
}

TEST_F(RowConcurrencyTest, ABadRequestAmongOthersSpoilsOnlyItself) {
  server_.probe().Hold();
  Call first(server_, queue_, 1);
  server_.probe().AwaitRuns(1);
  Call good(server_, queue_, 2);
  Call bad(server_, queue_, NAN);
  Call fine(server_, queue_, 3);
  server_.Sync();
  server_.probe().Release();
  for (int i = 0; i < 4; ++i) ASSERT_NE(Next(queue_), nullptr);
  EXPECT_EQ(bad.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ASSERT_TRUE(good.status.ok() && fine.status.ok());
  EXPECT_EQ(good.response.log_prob().values(0), -2);
  EXPECT_EQ(fine.response.log_prob().values(0), -4.5F);
  EXPECT_EQ(server_.probe().rows(), 3u);
}

TEST_F(RowConcurrencyTest, CancelledRowsAreNotComputed) {
  server_.Publish("weather", 1);
  server_.probe().Hold();
  Call first(server_, queue_, 1);
  server_.probe().AwaitRuns(1);
  // Of another model, so that it does not share a run with the one behind it.
  Call urgent(server_, queue_, 2, absl::Seconds(20), "weather");
  Call cancelled(server_, queue_, 3);
  server_.Sync();
  server_.probe().ReleaseOne();
  ASSERT_EQ(Next(queue_), &first);
  server_.probe().AwaitRuns(2);
  cancelled.context.TryCancel();
  ASSERT_EQ(Next(queue_), &cancelled);
  EXPECT_EQ(cancelled.status.error_code(), grpc::StatusCode::CANCELLED);
  server_.Sync();
  server_.probe().Release();
  ASSERT_EQ(Next(queue_), &urgent);
  EXPECT_TRUE(urgent.status.ok());
  Call last(server_, queue_, 4);
  ASSERT_EQ(Next(queue_), &last);
  EXPECT_EQ(server_.probe().rows(), 3u);
}

TEST_F(RowConcurrencyTest, ExpiredRowsAreNotComputed) {
  server_.probe().Hold();
  Call first(server_, queue_, 1);
  server_.probe().AwaitRuns(1);
  Call expired(server_, queue_, 2, absl::Milliseconds(20));
  ASSERT_EQ(Next(queue_), &expired);
  EXPECT_EQ(expired.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  // The server counts the time from when the call came: its deadline is a little later than the caller's.
  grpc::Alarm later;
  later.Set(&queue_, std::chrono::system_clock::now() + std::chrono::milliseconds(100), &later);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue_.Next(&tag, &ok));
  ASSERT_EQ(tag, &later);
  server_.Sync();
  server_.probe().Release();
  ASSERT_EQ(Next(queue_), &first);
  Call last(server_, queue_, 3);
  ASSERT_EQ(Next(queue_), &last);
  EXPECT_EQ(server_.probe().rows(), 2u);
}

TEST_F(RowConcurrencyTest, StoppingLetsCallsInFlightEnd) {
  server_.probe().Hold();
  Call call(server_, queue_, 4);
  server_.probe().AwaitRuns(1);
  std::thread stopping([this] { server_.Stop(absl::Seconds(30)); });
  server_.probe().Release();
  ASSERT_EQ(Next(queue_), &call);
  stopping.join();
  EXPECT_TRUE(call.status.ok()) << call.status.error_message();
  Call late(server_, queue_, 5, absl::Seconds(5));
  ASSERT_EQ(Next(queue_), &late);
  EXPECT_FALSE(late.status.ok());
}

TEST(RowWorkers, StopAmongCallsWhoseCallersAreGone) {
  // gRPC waits for connections when it ends, not for calls that lie in a worker's queue while their caller is gone.
  for (int round = 0; round < 20; ++round) {
    TestServer server({.workers = 2});
    std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
    std::vector<std::unique_ptr<grpc::ClientWriter<density::v1::ImportModelRequest>>> writers;
    density::v1::VersionInfo info;
    for (int call = 0; call < 30; ++call) {
      contexts.push_back(Context());
      writers.push_back(server.registry().Import(contexts.back().get(), &info));
    }
    for (const auto& context : contexts) context->TryCancel();
    server.Stop(absl::ZeroDuration());
    for (const auto& writer : writers) EXPECT_FALSE(writer->Finish().ok());
  }
}

TEST(RowWorkers, ShareManyConnectionsAndLargeRequests) {
  TestServer server({.workers = 3});
  server.Publish("power", 2);
  std::vector<std::thread> clients;
  for (int client = 0; client < 6; ++client) {
    clients.emplace_back([&server, client] {
      const auto stub = density::v1::DensityEstimator::NewStub(server.Connect());
      for (const size_t rows : {1, 3, 64, 65, 1000, 5000}) {
        std::vector<float> values(2 * rows);
        for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((client + i) % 5);
        LogProbRequest request;
        request.set_model("power");
        *request.mutable_rows() = Rows(2, values);
        LogProbResponse response;
        const grpc::Status status = stub->LogProb(Context().get(), request, &response);
        ASSERT_TRUE(status.ok()) << status.error_message();
        ASSERT_EQ(response.log_prob().values_size(), static_cast<int>(rows));
        for (size_t row = 0; row < rows; ++row) {
          const float x = values[2 * row], y = values[2 * row + 1];
          ASSERT_FLOAT_EQ(response.log_prob().values(static_cast<int>(row)), -(x * x + y * y) / 2);
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

}  // namespace
}  // namespace densityd::rpc
