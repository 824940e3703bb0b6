#include "client/lib/retry.h"

#include <vector>

#include "densityd/errors.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace densityd::client_internal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// Time that moves only by sleeping, and chance that always gives the same number.
class FakeEnvironment final : public RetryEnvironment {
 public:
  absl::Time Now() override { return now; }
  void Sleep(absl::Duration duration) override {
    now += duration;
    sleeps.push_back(duration);
  }
  double Uniform() override { return uniform; }

  absl::Time now = absl::FromUnixSeconds(1000);
  double uniform = 0;
  std::vector<absl::Duration> sleeps;
};

absl::Status Exhausted(absl::Duration retry_after) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(retry_after));
  absl::Status status = absl::ResourceExhaustedError("queue is full");
  status.SetPayload("type.googleapis.com/google.rpc.RetryInfo", absl::Cord(info.SerializeAsString()));
  return status;
}

class RetryTest : public testing::Test {
 protected:
  /// Calls something that always fails with `status`; counts the attempts.
  absl::Status RetryFailing(const absl::Status& status, absl::Duration timeout = absl::InfiniteDuration()) {
    return Retry(Backoff(policy_, environment_.now + timeout, environment_), environment_, [&](Backoff&) {
      ++attempts_;
      return status;
    });
  }

  RetryPolicy policy_ = {.max_attempts = 4,
                         .initial_backoff = absl::Seconds(1),
                         .max_backoff = absl::Seconds(3),
                         .multiplier = 2,
                         .jitter = 0.5,
                         .budget = absl::Seconds(60)};
  FakeEnvironment environment_;
  int attempts_ = 0;
};

TEST_F(RetryTest, WaitsGrowByTheMultiplierUpToTheLargest) {
  EXPECT_TRUE(absl::IsUnavailable(RetryFailing(absl::UnavailableError("down"))));
  EXPECT_THAT(environment_.sleeps, ElementsAre(absl::Seconds(1), absl::Seconds(2), absl::Seconds(3)));
  EXPECT_EQ(attempts_, 4);
}

TEST_F(RetryTest, ACallThatReachedAServerAsItEndedIsRepeated) {
  EXPECT_TRUE(absl::IsCancelled(RetryFailing(absl::CancelledError("CANCELLED"))));
  EXPECT_EQ(attempts_, 4);
}

TEST_F(RetryTest, AnAttemptBesideTheOneUnderWayIsOneOfThem) {
  Backoff backoff(policy_, absl::InfiniteFuture(), environment_);
  EXPECT_TRUE(backoff.TakeAttempt());                                          // two under way
  EXPECT_TRUE(backoff.Next(absl::UnavailableError("both down")).has_value());  // a third
  EXPECT_TRUE(backoff.TakeAttempt());                                          // and a fourth
  EXPECT_FALSE(backoff.TakeAttempt());
  EXPECT_FALSE(backoff.Next(absl::UnavailableError("both down")).has_value());
}

TEST_F(RetryTest, NoAttemptBeginsBesideAnotherAfterTheBudgetOrTheDeadline) {
  Backoff late(policy_, absl::InfiniteFuture(), environment_);
  Backoff expired(policy_, environment_.now + absl::Seconds(5), environment_);
  EXPECT_TRUE(late.Next(absl::UnavailableError("down")).has_value());
  environment_.now += absl::Seconds(5);
  EXPECT_FALSE(expired.TakeAttempt());
  environment_.now += policy_.budget;
  EXPECT_FALSE(late.TakeAttempt());
}

TEST_F(RetryTest, JitterShortensWaitsByAtMostItsShare) {
  environment_.uniform = 0.999999999;
  RetryFailing(absl::UnavailableError("down")).IgnoreError();
  ASSERT_EQ(environment_.sleeps.size(), 3u);
  EXPECT_NEAR(absl::ToDoubleSeconds(environment_.sleeps[0]), 0.5, 1e-6);
  EXPECT_NEAR(absl::ToDoubleSeconds(environment_.sleeps[2]), 1.5, 1e-6);
}

TEST_F(RetryTest, SuccessEndsTheRepetition) {
  EXPECT_TRUE(Retry(Backoff(policy_, absl::InfiniteFuture(), environment_), environment_, [&](Backoff&) {
                return ++attempts_ < 3 ? absl::UnavailableError("down") : absl::OkStatus();
              }).ok());
  EXPECT_EQ(attempts_, 3);
}

TEST_F(RetryTest, ErrorsThatWillNotPassAreReturnedAtOnce) {
  for (const absl::Status& status :
       {absl::InvalidArgumentError("x"), absl::NotFoundError("x"), absl::InternalError("x"), absl::DataLossError("x"),
        absl::DeadlineExceededError("x"), absl::FailedPreconditionError("x"), absl::ResourceExhaustedError("x")}) {
    attempts_ = 0;
    EXPECT_EQ(RetryFailing(status), status);
    EXPECT_EQ(attempts_, 1) << status;
  }
  EXPECT_TRUE(environment_.sleeps.empty());
}

TEST_F(RetryTest, ExhaustionIsRetriedWhenTheServerSaysWhen) {
  policy_.max_attempts = 2;
  EXPECT_TRUE(absl::IsResourceExhausted(RetryFailing(Exhausted(absl::Seconds(7)))));
  EXPECT_THAT(environment_.sleeps, ElementsAre(absl::Seconds(7)));
}

TEST_F(RetryTest, NoAttemptStartsAfterTheBudget) {
  policy_.max_attempts = 1000;
  policy_.budget = absl::Seconds(10);
  RetryFailing(absl::UnavailableError("down")).IgnoreError();
  EXPECT_THAT(environment_.sleeps, ElementsAre(absl::Seconds(1), absl::Seconds(2), absl::Seconds(3), absl::Seconds(3)));
}

TEST_F(RetryTest, WhatAStreamTookBeforeItBrokeIsNotOfItsBudget) {
  Backoff backoff(policy_, absl::InfiniteFuture(), environment_);
  environment_.now += 10 * policy_.budget;
  EXPECT_EQ(backoff.Next(absl::UnavailableError("down")), absl::Seconds(1));
  environment_.now += policy_.budget;
  EXPECT_EQ(backoff.Next(absl::UnavailableError("down")), std::nullopt);
}

TEST_F(RetryTest, NoWaitEndsAfterTheDeadline) {
  RetryFailing(absl::UnavailableError("down"), absl::Seconds(2)).IgnoreError();
  EXPECT_THAT(environment_.sleeps, ElementsAre(absl::Seconds(1)));
}

TEST_F(RetryTest, TheErrorSaysHowOftenAndHowLongItWasTriedAndKeepsItsDetails) {
  policy_.max_attempts = 2;
  const absl::Status status = RetryFailing(Exhausted(absl::Seconds(7)));
  EXPECT_THAT(status.message(), HasSubstr("queue is full (after 2 attempts in 7s)"));
  EXPECT_EQ(RetryDelay(status), absl::Seconds(7));
}

TEST_F(RetryTest, ProgressForgetsTheFailuresBefore) {
  Backoff backoff(policy_, absl::InfiniteFuture(), environment_);
  const absl::Status down = absl::UnavailableError("down");
  EXPECT_EQ(backoff.Next(down), absl::Seconds(1));
  EXPECT_EQ(backoff.Next(down), absl::Seconds(2));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(down), absl::Seconds(1));
}

/// The calls of one client, which may be repeated ten times and then once a second.
class RetryBudgetTest : public RetryTest {
 protected:
  /// How long the next repetition of a call that begins now waits for its turn.
  std::optional<absl::Duration> Wait(const absl::Status& status = absl::UnavailableError("down")) {
    return Backoff(policy_, absl::InfiniteFuture(), environment_, &budget_).Next(status);
  }
  void SpendAll() {
    for (int i = 0; i < 10; ++i) EXPECT_EQ(Wait(), policy_.initial_backoff);
  }

  RetryBudget budget_{/*max_share=*/0, /*least_per_second=*/1, environment_.now};
};

TEST_F(RetryBudgetTest, WhoFindsNoneLeftTakesTheNextInTurn) {
  policy_.initial_backoff = absl::ZeroDuration();
  SpendAll();
  EXPECT_EQ(Wait(), absl::Seconds(1));
  EXPECT_EQ(Wait(), absl::Seconds(2));
  environment_.now += absl::Seconds(10);
  EXPECT_EQ(Wait(), absl::ZeroDuration()) << "time made up for it";
}

TEST_F(RetryBudgetTest, ACallThatCannotWaitForItsTurnTakesNobodyElses) {
  policy_.initial_backoff = absl::ZeroDuration();
  SpendAll();
  policy_.budget = absl::Milliseconds(500);
  EXPECT_EQ(Wait(), std::nullopt);
  EXPECT_EQ(Wait(), std::nullopt);
  policy_.budget = absl::Seconds(60);
  EXPECT_EQ(Wait(), absl::Seconds(1));
}

TEST_F(RetryBudgetTest, WhatTheServerAskedForIsNotCounted) {
  SpendAll();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Wait(Exhausted(absl::Seconds(3))), absl::Seconds(3));
  policy_.initial_backoff = absl::ZeroDuration();
  EXPECT_EQ(Wait(), absl::Seconds(1));
}

TEST_F(RetryBudgetTest, CallsBringTheirShareAndWithoutOneThereIsNone) {
  RetryBudget share(/*max_share=*/0.25, /*least_per_second=*/0, environment_.now);
  EXPECT_EQ(share.Take(environment_.now), absl::ZeroDuration()) << "the first call's";
  EXPECT_EQ(share.Take(environment_.now), absl::InfiniteDuration());
  for (int call = 0; call < 4; ++call) share.OnCall(environment_.now);
  EXPECT_EQ(share.Take(environment_.now), absl::ZeroDuration());
  EXPECT_EQ(share.Take(environment_.now + absl::Hours(1)), absl::InfiniteDuration());
}

}  // namespace
}  // namespace densityd::client_internal
