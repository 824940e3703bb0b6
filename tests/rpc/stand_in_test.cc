// What is not rows is answered, however long the row workers compute.
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using density::v1::LogProbRequest;
using density::v1::LogProbResponse;

constexpr int kWorkers = 2;
/// Of a request that every worker takes a tile of.
constexpr size_t kManyRows = 4096;

/// One LogProb call under way.
struct Call {
  Call(TestServer& server, grpc::CompletionQueue& queue, size_t rows) : context(Context()) {
    LogProbRequest request;
    request.set_model("power");
    *request.mutable_rows() = Rows(1, std::vector<float>(rows, 2));
    reader = server.estimator().AsyncLogProb(context.get(), request, &queue);
    reader->Finish(&response, &status, this);
  }

  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<LogProbResponse>> reader;
  LogProbResponse response;
  grpc::Status status;
};

class StandInTest : public ::testing::Test {
 protected:
  /// Every worker is at a tile that does not end.
  StandInTest() {
    server_.Publish("power", 1);
    server_.probe().Hold();
    held_.emplace_back(std::make_unique<Call>(server_, queue_, kManyRows));
    server_.probe().AwaitRuns(kWorkers);
  }

  ~StandInTest() override {
    server_.probe().Release();
    AwaitCalls();
  }

  /// Sends a row, and returns when the server has it.
  Call& SendRow() {
    held_.emplace_back(std::make_unique<Call>(server_, queue_, 1));
    server_.Sync();
    return *held_.back();
  }

  void AwaitCalls() {
    void* tag = nullptr;
    bool ok = false;
    for (; ended_ < held_.size(); ++ended_) queue_.Next(&tag, &ok);
  }

  TestServer server_{{.workers = kWorkers}};
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Call>> held_;
  size_t ended_ = 0;
};

TEST_F(StandInTest, ControlCallsOfEveryConnectionAreAnsweredWhileEveryWorkerComputes) {
  for (int connection = 0; connection < 2 * kWorkers; ++connection) {
    const auto registry = density::v1::ModelRegistry::NewStub(server_.Connect());
    for (int i = 0; i < 3; ++i) {
      density::v1::ListModelsResponse response;
      const grpc::Status status = registry->List(Context().get(), {}, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(response.models_size(), 1);
    }
  }
}

TEST_F(StandInTest, StreamsGoOnWhileEveryWorkerComputes) {
  const auto context = Context();
  density::v1::Dataset dataset;
  const auto upload = server_.datasets().Upload(context.get(), &dataset);
  for (int i = 0; i < 10; ++i) {
    density::v1::UploadDatasetRequest chunk;
    *chunk.mutable_rows() = Rows(2, {1, 2, 3, 4});
    ASSERT_TRUE(upload->Write(chunk));
  }
  upload->WritesDone();
  const grpc::Status status = upload->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dataset.rows(), 20u);
}

TEST_F(StandInTest, RowsThatCameMeanwhileAreAnsweredAfterwards) {
  constexpr int kCalls = 100;
  for (int i = 0; i < kCalls; ++i) SendRow();
  server_.probe().Release();
  AwaitCalls();
  for (const auto& call : held_) {
    ASSERT_TRUE(call->status.ok()) << call->status.error_message();
    EXPECT_EQ(call->response.log_prob().values(0), -2);
  }
}

TEST_F(StandInTest, RowsThatCameAndWereGivenUpMeanwhileAreNotComputed) {
  Call& given_up = SendRow();
  given_up.context->TryCancel();
  server_.Sync();
  server_.probe().Release();
  AwaitCalls();
  EXPECT_EQ(given_up.status.error_code(), grpc::StatusCode::CANCELLED);
  server_.Sync();
  EXPECT_EQ(server_.probe().rows(), kManyRows);
}

TEST_F(StandInTest, AServerThatStopsMeanwhileEndsWithTheTiles) {
  std::thread stop([this] { server_.Stop(absl::Seconds(30)); });
  server_.probe().Release();
  stop.join();
  AwaitCalls();
  EXPECT_TRUE(held_.front()->status.ok()) << held_.front()->status.error_message();
}

}  // namespace
}  // namespace densityd::rpc
