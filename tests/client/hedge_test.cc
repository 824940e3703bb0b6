// Calls that are sent a second time because the first takes too long.
#include "client/lib/hedge.h"

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "densityd/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace densityd {
namespace {

using client_internal::HedgeBudget;
using testing::HasSubstr;
using testing::SizeIs;

grpc::Status Answer(float value, v1::LogProbResponse& response) {
  response.mutable_log_prob()->add_values(value);
  return grpc::Status::OK;
}

/// Returns when the caller has given the call up.
grpc::Status AwaitCancellation(grpc::ServerContext& context) {
  while (!context.IsCancelled()) std::this_thread::yield();
  return {grpc::StatusCode::ABORTED, "nobody reads this"};
}

class HedgeTest : public testing::Test {
 protected:
  using Handle = std::function<grpc::Status(int call, grpc::ServerContext& context, v1::LogProbResponse& response)>;

  /// LogProb calls are answered by `handle`, which gets their number, from 1.
  void Serve(Handle handle) {
    server_.estimator.log_prob = [this, handle](grpc::ServerContext& context, const v1::LogProbRequest&,
                                                v1::LogProbResponse& response) {
      {
        absl::MutexLock lock(&mutex_);
        peers_.insert(context.peer());
      }
      return handle(++calls_, context, response);
    };
  }
  absl::StatusOr<LogProbResult<float>> Call(const Client& client) {
    const std::vector<float> row = {1};
    return client.LogProb("power", {row, 1});
  }
  Client Connect(absl::Duration delay, int max_attempts = 6, double max_share = 1) {
    ClientOptions options = server_.options();
    options.hedge = {.delay = delay, .max_share = max_share};
    options.retry.max_attempts = max_attempts;
    return Client::Connect(options).value();
  }
  std::set<std::string> peers() {
    absl::MutexLock lock(&mutex_);
    return peers_;
  }

  FakeServer server_;
  std::atomic<int> calls_ = 0;
  absl::Mutex mutex_;
  std::set<std::string> peers_ ABSL_GUARDED_BY(mutex_);  ///< connections that calls came from
};

TEST_F(HedgeTest, AStalledCallIsAnsweredOnAnotherConnectionAndCancelled) {
  absl::Notification cancelled;
  Serve([&](int call, grpc::ServerContext& context, v1::LogProbResponse& response) {
    if (call > 1) return Answer(2, response);
    const grpc::Status status = AwaitCancellation(context);
    cancelled.Notify();
    return status;
  });
  const auto answer = Call(Connect(absl::Milliseconds(20)));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->log_prob.at(0), 2);
  EXPECT_EQ(calls_, 2);
  EXPECT_THAT(peers(), SizeIs(2));
  EXPECT_TRUE(cancelled.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST_F(HedgeTest, WhatIsAnsweredInTimeIsSentOnce) {
  Serve([](int call, grpc::ServerContext&, v1::LogProbResponse& response) {
    return Answer(static_cast<float>(call), response);
  });
  const Client client = Connect(absl::Hours(1));
  for (int i = 1; i <= 20; ++i) EXPECT_EQ(Call(client)->log_prob.at(0), i);
  EXPECT_EQ(calls_, 20);
  EXPECT_THAT(peers(), SizeIs(1));
}

TEST_F(HedgeTest, TheFirstAttemptMayStillAnswerWhereTheSecondFails) {
  absl::Notification second_failed;
  Serve([&](int call, grpc::ServerContext&, v1::LogProbResponse& response) {
    if (call == 2) {
      second_failed.Notify();
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
    }
    second_failed.WaitForNotification();
    return Answer(1, response);
  });
  const auto answer = Call(Connect(absl::Milliseconds(20), /*max_attempts=*/2));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->log_prob.at(0), 1);
  EXPECT_EQ(calls_, 2);
}

TEST_F(HedgeTest, ASecondAttemptIsOneOfThoseThatThePolicyAllows) {
  absl::Notification second_came;
  Serve([&](int call, grpc::ServerContext&, v1::LogProbResponse&) {
    if (call == 1) second_came.WaitForNotification();
    if (call == 2) second_came.Notify();
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  });
  const absl::Status status = Call(Connect(absl::Milliseconds(20), /*max_attempts=*/2)).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("after 2 attempts"));
  EXPECT_EQ(calls_, 2);
}

TEST_F(HedgeTest, AnErrorThatDoesNotPassEndsBothAttempts) {
  Serve([&](int call, grpc::ServerContext& context, v1::LogProbResponse&) {
    if (call == 1) return AwaitCancellation(context);
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "rows: has 1 column");
  });
  const absl::Status status = Call(Connect(absl::Milliseconds(20))).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(calls_, 2);
}

TEST_F(HedgeTest, ACallThatFailsInTimeIsRepeatedAsWithoutHedging) {
  Serve([&](int call, grpc::ServerContext&, v1::LogProbResponse& response) {
    return call < 4 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining") : Answer(4, response);
  });
  const auto answer = Call(Connect(absl::Hours(1)));
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(calls_, 4);
}

TEST_F(HedgeTest, OfManySlowCallsOnlyAShareIsSentTwice) {
  constexpr int kCalls = 40;
  Serve([&](int, grpc::ServerContext&, v1::LogProbResponse& response) {
    // Longer than the delay, on any machine.
    absl::SleepFor(absl::Milliseconds(5));
    return Answer(1, response);
  });
  const Client client = Connect(absl::Microseconds(1), /*max_attempts=*/6, /*max_share=*/0.1);
  for (int i = 0; i < kCalls; ++i) EXPECT_TRUE(Call(client).ok());
  EXPECT_GT(calls_, kCalls);
  EXPECT_LE(calls_, kCalls + 1 + kCalls / 10);
}

TEST_F(HedgeTest, EveryRowMethodIsSentTwice) {
  std::atomic<int> calls = 0;
  const auto stall_first = [&](grpc::ServerContext& context) {
    if (++calls % 2 == 1) return AwaitCancellation(context);
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "answered");
  };
  const auto serve = [&](grpc::ServerContext& context, const auto&, auto&) { return stall_first(context); };
  server_.estimator.inverse = serve;
  server_.estimator.forward = serve;
  server_.estimator.score = serve;
  server_.estimator.sample = serve;
  server_.estimator.explain = serve;
  const Client client = Connect(absl::Milliseconds(20));
  const std::vector<float> values = {1};
  const RowsView<float> rows(values, 1);
  const absl::Status outcomes[] = {client.Inverse("power", rows).status(), client.Forward("power", rows).status(),
                                   client.Score("power", rows).status(), client.Explain("power", rows).status(),
                                   client.Sample<float>("power", 1, {.context = {}}).status()};
  for (const absl::Status& status : outcomes) EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_EQ(calls, 10);
}

TEST(HedgeBudgetTest, IsAShareOfAllCallsWithSomeSavedUp) {
  HedgeBudget budget(0.25);
  EXPECT_TRUE(budget.Take()) << "the first";
  EXPECT_FALSE(budget.Take());
  for (int i = 0; i < 4; ++i) budget.OnCall();
  EXPECT_TRUE(budget.Take());
  EXPECT_FALSE(budget.Take());
  for (int i = 0; i < 1000; ++i) budget.OnCall();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(budget.Take());
  EXPECT_FALSE(budget.Take());
}

}  // namespace
}  // namespace densityd
