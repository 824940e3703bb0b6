// The priority that a caller says, or the file of grants for him, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "server/base/strings.h"
#include "server/base/token.h"
#include "tests/rpc/test_server.h"

namespace densityd::rpc {
namespace {

using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// What was sent before a Sync waits for the worker's next run, however busy the machine is.
constexpr absl::Duration kPatience = absl::Seconds(10);

/// LogProb calls of one row under way, known by their row.
class Calls {
 public:
  explicit Calls(TestServer& server) : server_(&server) {}

  void Start(float x, const std::string& priority, const std::string& token = "") {
    Call& call = *calls_.emplace_back(std::make_unique<Call>());
    call.context = Context();
    if (!priority.empty()) call.context->AddMetadata("densityd-priority", priority);
    if (!token.empty()) call.context->AddMetadata("authorization", "Bearer " + token);
    density::v1::LogProbRequest request;
    request.set_model("power");
    *request.mutable_rows() = Rows(1, {x});
    call.x = x;
    call.reader = server_->estimator().AsyncLogProb(call.context.get(), request, &queue_);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  /// Rows of all calls in the order in which they ended.
  std::vector<float> Await() {
    std::vector<float> order;
    for (size_t i = 0; i < calls_.size(); ++i) {
      void* tag = nullptr;
      bool ok = false;
      if (!queue_.Next(&tag, &ok)) break;
      const auto& call = *static_cast<const Call*>(tag);
      EXPECT_TRUE(call.status.ok()) << call.status.error_message();
      order.push_back(call.x);
    }
    calls_.clear();
    return order;
  }

 private:
  struct Call {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<density::v1::LogProbResponse>> reader;
    density::v1::LogProbResponse response;
    grpc::Status status;
    float x = 0;
  };

  TestServer* server_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Call>> calls_;
};

TEST(PriorityRpcTest, InteractiveCallsGoBeforeBatchOnesThatCameEarlier) {
  TestServer server({.message_patience = kPatience});
  server.Publish("power", 1);
  Calls calls(server);
  server.probe().Hold();
  calls.Start(1, "");
  server.probe().AwaitRuns(1);
  calls.Start(2, "batch");
  server.Sync();
  calls.Start(3, "interactive");
  server.Sync();
  server.probe().Release();
  EXPECT_THAT(calls.Await(), ElementsAre(1, 3, 2));
  EXPECT_THAT(server.metrics().Text(), HasSubstr("densityd_queue_seconds_count{priority=\"batch\"} 1"));
}

TEST(PriorityRpcTest, AnUnknownPriorityIsInvalid) {
  TestServer server;
  server.Publish("power", 1);
  const auto context = Context();
  context->AddMetadata("densityd-priority", "urgent");
  density::v1::LogProbRequest request;
  request.set_model("power");
  *request.mutable_rows() = Rows(1, {0});
  density::v1::LogProbResponse response;
  const grpc::Status status = server.estimator().LogProb(context.get(), request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("densityd-priority: the metadata is \"urgent\""));
}

TEST(PriorityRpcTest, WhoseGrantSaysBatchIsNeverInteractive) {
  const TempFolder folder;
  const std::string bulk = NewToken();
  const std::string person = NewToken();
  const auto line = [](const std::string& name, const std::string& token) {
    return absl::StrCat("name=", name, " token=", ToAbsl(TokenId(token)), ":", TokenDigest(token), " rights=infer ");
  };
  WriteFile(folder.Path("grants"), line("bulk", bulk) + "priority=batch\n" + line("person", person) + "\n");
  const auto authorizer = Authorizer::Open(folder.Path("grants"), Clock::Real(), absl::InfiniteDuration()).value();
  TestServer server({.authorizer = authorizer.get(), .message_patience = kPatience});
  server.Publish("power", 1);
  // What was sent before it on the same connection has been read when it is answered.
  const auto sync = [&] {
    const auto context = Context();
    context->AddMetadata("authorization", "Bearer " + person);
    density::v1::ListModelsResponse response;
    EXPECT_TRUE(server.registry().List(context.get(), {}, &response).ok());
  };
  Calls calls(server);
  server.probe().Hold();
  calls.Start(1, "", person);
  server.probe().AwaitRuns(1);
  calls.Start(2, "interactive", bulk);
  sync();
  calls.Start(3, "", person);
  sync();
  server.probe().Release();
  EXPECT_THAT(calls.Await(), ElementsAre(1, 3, 2));
}

}  // namespace
}  // namespace densityd::rpc
