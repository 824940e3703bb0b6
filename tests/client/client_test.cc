// Calls of the client: repetition, deadlines, errors, watching, uploading, lists.
#include "densityd/client.h"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace densityd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

const grpc::Status kDown(grpc::StatusCode::UNAVAILABLE, "draining");

TEST(ClientTest, OptionsThatMakeNoSenseAreNamed) {
  const auto message = [](ClientOptions options) { return std::string(Client::Connect(options).status().message()); };
  ClientOptions options;
  options.address = "";
  EXPECT_THAT(message(options), HasSubstr("address"));
  options = ClientOptions();
  options.timeout = absl::ZeroDuration();
  EXPECT_THAT(message(options), HasSubstr("timeout"));
  options = ClientOptions();
  options.retry.max_attempts = 0;
  EXPECT_THAT(message(options), HasSubstr("retry.max_attempts"));
  options = ClientOptions();
  options.hedge.delay = absl::ZeroDuration();
  EXPECT_THAT(message(options), HasSubstr("hedge.delay"));
  options.hedge.delay = absl::Milliseconds(10);
  options.hedge.max_share = 0;
  EXPECT_THAT(message(options), HasSubstr("hedge.max_share"));
  options.hedge.max_share = 0.1;
  options.retry.max_attempts = 1;
  EXPECT_THAT(message(options), HasSubstr("retry.max_attempts of at least 2"));
  options = ClientOptions();
  options.max_message_bytes = 3;
  EXPECT_THAT(message(options), HasSubstr("max_message_bytes"));
  options = ClientOptions();
  options.tls = TlsOptions();
  options.tls->client_certificate = "PEM";
  EXPECT_THAT(message(options), HasSubstr("client_key"));
}

TEST(ClientTest, CallsThatMayBeRepeatedAreRepeatedWhileTheServerIsUnavailable) {
  FakeServer server;
  std::atomic<int> calls = 0;
  server.registry.get = [&](grpc::ServerContext&, const v1::GetModelRequest&, v1::ModelDetail& detail) {
    if (++calls < 4) return kDown;
    detail.mutable_info()->set_version(9);
    return grpc::Status::OK;
  };
  auto detail = server.Connect().GetModel("power");
  ASSERT_TRUE(detail.ok()) << detail.status();
  EXPECT_EQ(detail->info().version(), 9u);
  EXPECT_EQ(calls, 4);
}

TEST(ClientTest, SaysThatItsRowsAreABatchOnlyIfTheyAre) {
  FakeServer server;
  std::vector<std::string> said;
  server.estimator.log_prob = [&](grpc::ServerContext& context, const v1::LogProbRequest&,
                                  v1::LogProbResponse& answer) {
    const auto entry = context.client_metadata().find("densityd-priority");
    said.emplace_back(
        entry == context.client_metadata().end() ? "nothing" : std::string(entry->second.data(), entry->second.size()));
    answer.mutable_log_prob()->add_values(0);
    return grpc::Status::OK;
  };
  const std::vector<float> row = {1};
  for (const Priority priority : {Priority::kInteractive, Priority::kBatch}) {
    ClientOptions options = server.options();
    options.priority = priority;
    const auto client = Client::Connect(options);
    ASSERT_TRUE(client.ok()) << client.status();
    const auto answer = client->LogProb("power", {row, 1});
    EXPECT_TRUE(answer.ok()) << answer.status();
  }
  EXPECT_THAT(said, ElementsAre("nothing", "batch"));
}

TEST(ClientTest, AnUnavailableServerIsNamedWithTheNumberOfAttempts) {
  FakeServer server;
  server.registry.get = [&](grpc::ServerContext&, const v1::GetModelRequest&, v1::ModelDetail&) { return kDown; };
  const absl::Status status = server.Connect().GetModel("power").status();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(status.message(), HasSubstr(server.address()));
  EXPECT_THAT(status.message(), HasSubstr("after 6 attempts"));
}

TEST(ClientTest, WhatMustNotHappenTwiceIsSentOnce) {
  FakeServer server;
  std::atomic<int> calls = 0;
  const auto down = [&](auto&, const auto&, auto&) {
    ++calls;
    return kDown;
  };
  server.trainings.cancel = down;
  server.registry.remove = down;
  server.registry.set_alias = down;
  server.registry.delete_alias = down;
  server.datasets.remove = down;
  Client client = server.Connect();
  EXPECT_TRUE(absl::IsUnavailable(client.Cancel("t1").status()));
  EXPECT_TRUE(absl::IsUnavailable(client.DeleteVersion("power", 1)));
  EXPECT_TRUE(absl::IsUnavailable(client.SetAlias("power", "stable", 1, 7).status()));
  EXPECT_TRUE(absl::IsUnavailable(client.DeleteAlias("power", "stable").status()));
  EXPECT_TRUE(absl::IsUnavailable(client.DeleteDataset("d1")));
  EXPECT_EQ(calls, 5);
}

TEST(ClientTest, AFullQueueIsAskedAgainWhenTheServerSaysSo) {
  FakeServer server;
  std::atomic<int> calls = 0;
  server.estimator.log_prob = [&](grpc::ServerContext&, const v1::LogProbRequest&, v1::LogProbResponse& response) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(1000);
    if (++calls == 1) return ErrorWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue is full", retry);
    response.mutable_log_prob()->add_values(1);
    return grpc::Status::OK;
  };
  const std::vector<float> rows = {1};
  EXPECT_TRUE(server.Connect().LogProb("power", {rows, 1}).ok());
  EXPECT_EQ(calls, 2);
}

TEST(ClientTest, ACallEndsAtItsTimeout) {
  FakeServer server;
  absl::Notification stop;
  server.registry.get = [&](grpc::ServerContext&, const v1::GetModelRequest&, v1::ModelDetail&) {
    stop.WaitForNotification();
    return grpc::Status::OK;
  };
  const absl::Status status = server.Connect().GetModel("power", {.timeout = absl::Milliseconds(50)}).status();
  stop.Notify();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

TEST(ClientTest, TheDefaultTimeoutReachesTheServerAsADeadline) {
  FakeServer server;
  absl::Duration left;
  server.registry.get = [&](grpc::ServerContext& context, const v1::GetModelRequest&, v1::ModelDetail&) {
    left = absl::FromChrono(context.deadline()) - absl::Now();
    return grpc::Status::OK;
  };
  ASSERT_TRUE(server.Connect().GetModel("power").ok());
  EXPECT_GT(left, absl::Seconds(30));
  EXPECT_LE(left, absl::Seconds(61));
}

TEST(ClientTest, AnUnreachableServerIsUnavailableAndNotAHang) {
  std::string address;
  { address = FakeServer().address(); }  // A port that nobody listens on any more.
  ClientOptions options;
  options.address = address;
  options.retry.max_attempts = 1;
  const absl::Status status = Client::Connect(options)->GetModel("power").status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr(address));
}

TEST(ClientTest, AnAnswerOverTheMessageLimitNamesBothLimits) {
  FakeServer server;
  server.registry.get = [&](grpc::ServerContext&, const v1::GetModelRequest&, v1::ModelDetail& detail) {
    detail.mutable_info()->set_error(std::string(100'000, 'x'));
    return grpc::Status::OK;
  };
  ClientOptions options = server.options();
  options.max_message_bytes = 20'000;
  const absl::Status status = Client::Connect(options)->GetModel("power").status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("ClientOptions::max_message_bytes"));
  EXPECT_THAT(status.message(), HasSubstr("--max-message-bytes"));
}

TEST(ClientTest, ATrainingRequestOverTheMessageLimitPointsToUpload) {
  FakeServer server;
  v1::TrainRequest request;
  request.mutable_rows()->set_f32_le(std::string(30'000, '\0'));
  ClientOptions options = server.options();
  options.max_message_bytes = 20'000;
  const absl::Status status = Client::Connect(options)->Train(request).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("upload"));
}

TEST(ClientTest, ListsReadAllPages) {
  FakeServer server;
  server.registry.list = [](grpc::ServerContext&, const v1::ListModelsRequest& request,
                            v1::ListModelsResponse& response) {
    const int page = request.page_token().empty() ? 0 : std::stoi(request.page_token());
    response.add_models()->set_name("model" + std::to_string(page));
    if (page < 2) response.set_next_page_token(std::to_string(page + 1));
    return grpc::Status::OK;
  };
  auto models = server.Connect().ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  ASSERT_THAT(*models, SizeIs(3));
  EXPECT_EQ((*models)[2].name(), "model2");
}

TEST(ClientTest, HealthIsAskedForTheServerAndForNames) {
  FakeServer server;
  server.health().SetServingStatus("power", false);
  Client client = server.Connect();
  EXPECT_EQ(*client.CheckHealth(), Health::kServing);
  EXPECT_EQ(*client.CheckHealth("power"), Health::kNotServing);
  EXPECT_TRUE(absl::IsNotFound(client.CheckHealth("unknown").status()));
}

TEST(ClientTest, OneClientServesManyThreads) {
  FakeServer server;
  server.registry.get = [](grpc::ServerContext&, const v1::GetModelRequest& request, v1::ModelDetail& detail) {
    detail.mutable_info()->set_name(request.model());
    return grpc::Status::OK;
  };
  const Client client = server.Connect();
  std::atomic<int> right = 0;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, name = "model" + std::to_string(thread)] {
      for (int i = 0; i < 20; ++i) {
        auto detail = client.GetModel(name);
        if (detail.ok() && detail->info().name() == name) ++right;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(right, 160);
}

v1::Training State(uint64_t revision, v1::TrainingState state = v1::RUNNING) {
  v1::Training training;
  training.set_id("t1");
  training.set_revision(revision);
  training.set_state(state);
  return training;
}

TEST(WatchTest, ReportsEveryStateOnceAcrossLostConnections) {
  FakeServer server;
  std::atomic<int> connections = 0;
  std::vector<uint64_t> after;
  server.trainings.watch = [&](const v1::WatchTrainingRequest& request, grpc::ServerWriter<v1::Training>& writer) {
    after.push_back(request.after_revision());
    switch (++connections) {
      case 1:
        writer.Write(State(1));
        writer.Write(State(2));
        return kDown;
      case 2:
        return kDown;
      case 3:
        writer.Write(State(2));
        writer.Write(State(4));
        return grpc::Status::OK;  // A drain: the stream ends early.
      default:
        writer.Write(State(5, v1::SUCCEEDED));
        return grpc::Status::OK;
    }
  };
  std::vector<uint64_t> revisions;
  auto last = server.Connect().Watch("t1", [&](const v1::Training& training) {
    revisions.push_back(training.revision());
    return true;
  });
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->state(), v1::SUCCEEDED);
  EXPECT_THAT(revisions, ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(after, ElementsAre(0, 2, 2, 4));
}

TEST(TrainTest, IsRepeatedWithOneKey) {
  FakeServer server;
  std::vector<std::string> keys;
  server.estimator.train = [&](grpc::ServerContext&, const v1::TrainRequest& request, v1::Training& training) {
    keys.push_back(request.idempotency_key());
    if (keys.size() == 1) return kDown;
    training.set_id("t1");
    return grpc::Status::OK;
  };
  Client client = server.Connect();
  EXPECT_EQ(client.Train(v1::TrainRequest())->id(), "t1");
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_FALSE(keys[0].empty());
  EXPECT_EQ(keys[0], keys[1]);
  ASSERT_TRUE(client.Train(v1::TrainRequest()).ok());
  EXPECT_NE(keys[2], keys[0]);
  v1::TrainRequest request;
  request.set_idempotency_key("mine");
  ASSERT_TRUE(client.Train(request).ok());
  EXPECT_EQ(keys[3], "mine");
}

TEST(WatchTest, AServerThatKnowsLessThanItDidIsBelieved) {
  FakeServer server;
  std::atomic<int> connections = 0;
  server.trainings.watch = [&](const v1::WatchTrainingRequest&, grpc::ServerWriter<v1::Training>& writer) {
    const int connection = ++connections;
    if (connection == 1) writer.Write(State(100));
    if (connection == 2) writer.Write(State(3));
    if (connection == 3) writer.Write(State(3, v1::FAILED));
    return connection == 3 ? grpc::Status::OK : kDown;
  };
  std::vector<uint64_t> revisions;
  auto last = server.Connect().Watch("t1", [&](const v1::Training& training) {
    revisions.push_back(training.revision());
    return true;
  });
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->state(), v1::FAILED);
  EXPECT_THAT(revisions, ElementsAre(100, 3, 3));
}

TEST(WatchTest, EndsWhenTheCallerHasSeenEnough) {
  FakeServer server;
  server.trainings.watch = [&](const v1::WatchTrainingRequest&, grpc::ServerWriter<v1::Training>& writer) {
    uint64_t revision = 0;
    while (writer.Write(State(++revision))) {
    }
    return grpc::Status::OK;
  };
  auto last = server.Connect().Watch("t1", [&](const v1::Training& training) { return training.revision() < 3; });
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->revision(), 3u);
}

TEST(WatchTest, AnUnknownTrainingIsReportedAtOnce) {
  FakeServer server;
  std::atomic<int> connections = 0;
  server.trainings.watch = [&](const v1::WatchTrainingRequest&, grpc::ServerWriter<v1::Training>&) {
    ++connections;
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no training t1");
  };
  EXPECT_TRUE(absl::IsNotFound(server.Connect().Watch("t1", nullptr).status()));
  EXPECT_EQ(connections, 1);
}

TEST(UploadTest, SendsRowsInChunksWithNamesInTheFirstAndReportsProgress) {
  FakeServer server;
  const std::vector<double> rows(300'000, 1.0);
  std::vector<size_t> sent;
  auto dataset = server.Connect().Upload({rows, 3}, {.display_name = "power", .columns = {"a", "b", "c"}},
                                         [&](size_t rows_sent, size_t all) {
                                           EXPECT_EQ(all, 100'000u);
                                           sent.push_back(rows_sent);
                                         });
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->rows(), 100'000u);
  ASSERT_GT(server.datasets.messages.size(), 2u);
  EXPECT_EQ(server.datasets.messages[0].display_name(), "power");
  EXPECT_THAT(server.datasets.messages[0].columns(), ElementsAre("a", "b", "c"));
  EXPECT_THAT(server.datasets.messages[1].columns(), SizeIs(0));
  EXPECT_EQ(sent.size(), server.datasets.messages.size());
  EXPECT_EQ(sent.back(), 100'000u);
}

TEST(UploadTest, PiecesBecomeOneDataset) {
  FakeServer server;
  Client client = server.Connect();
  auto upload = client.BeginUpload({.display_name = "pieces"});
  ASSERT_TRUE(upload.ok()) << upload.status();
  const std::vector<float> piece = {1, 2, 3, 4};
  EXPECT_TRUE(upload->Append({piece, 2}).ok());
  EXPECT_TRUE(upload->Append({piece, 2}).ok());
  auto dataset = upload->Finish();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->rows(), 4u);
  EXPECT_TRUE(absl::IsFailedPrecondition(upload->Append({piece, 2})));
}

TEST(UploadTest, ARefusalInTheMiddleIsReportedWithItsReason) {
  FakeServer server;
  server.datasets.read_at_most = 1;
  server.datasets.outcome = grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "over --max-dataset-bytes");
  const std::vector<double> rows(4'000'000, 1.0);
  const absl::Status status = server.Connect().Upload({rows, 4}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("over --max-dataset-bytes"));
}

TEST(ClientTest, SendsItsTokenWithEveryCall) {
  FakeServer server;
  std::vector<std::string> sent;
  const auto keep = [&](grpc::ServerContext& context, const auto&, auto&) {
    const auto header = context.client_metadata().find("authorization");
    sent.emplace_back(
        header == context.client_metadata().end() ? "" : std::string(header->second.data(), header->second.size()));
    return grpc::Status::OK;
  };
  server.registry.get = keep;
  server.trainings.list = keep;
  ClientOptions options = server.options();
  EXPECT_TRUE(Client::Connect(options)->GetModel("power").ok());
  options.token = "secret";
  const Client client = *Client::Connect(options);
  EXPECT_TRUE(client.GetModel("power").ok());
  EXPECT_TRUE(client.ListTrainings().ok());
  EXPECT_THAT(sent, testing::ElementsAre("", "Bearer secret", "Bearer secret"));
}

TEST(ClientTest, ATokenLeavesTheMachineOverTlsOnlyUnlessThatIsWanted) {
  ClientOptions options;
  options.token = "secret";
  for (const char* address : {"127.0.0.1:1", "127.8.8.8:1", "localhost:1", "[::1]:1", "unix:/tmp/x"}) {
    options.address = address;
    EXPECT_TRUE(Client::Connect(options).ok()) << address;
  }
  for (const char* address : {"10.0.0.1:1", "example.org:1", "127.0.0.1.example.org:1", "localhost.example.org:1",
                              "dns:///example.org:1", "[::2]:1", "0.0.0.0:1"}) {
    options.address = address;
    const absl::Status status = Client::Connect(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << address;
    EXPECT_THAT(status.message(), HasSubstr("token"));
    EXPECT_THAT(status.message(), testing::Not(HasSubstr("secret")));
    ClientOptions other = options;
    other.tls.emplace();
    EXPECT_TRUE(Client::Connect(other).ok()) << address;
    other = options;
    other.insecure_token_over_plain_text = true;
    EXPECT_TRUE(Client::Connect(other).ok()) << address;
  }
}

TEST(ClientTest, ATokenIsOneWord) {
  ClientOptions options;
  for (const char* token : {"a b", "a\n", "a\r\nx: y", "\xc3\xa9"}) {
    options.token = token;
    EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect(options).status())) << token;
  }
}

}  // namespace
}  // namespace densityd
