#include "server/serving/client_quota.h"

#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/serving/fakes.h"

namespace densityd::serving {
namespace {

using testing::HasSubstr;

/// When a refused client may come back.
absl::Duration RetryDelay(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload("type.googleapis.com/google.rpc.RetryInfo");
  google::rpc::RetryInfo info;
  EXPECT_TRUE(payload.has_value() && info.ParseFromString(std::string(*payload)));
  return absl::Seconds(info.retry_delay().seconds()) + absl::Nanoseconds(info.retry_delay().nanos());
}

class ClientQuotaTest : public testing::Test {
 protected:
  absl::Status Take(ClientQuota& quota, uint64_t rows) const { return quota.TakeRows(rows, clock.Now()); }

  FakeClock clock;
};

TEST_F(ClientQuotaTest, LimitsNothingUnlessItIsTold) {
  ClientQuota quota("ci", {});
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(Take(quota, uint64_t{1} << 40).ok());
  std::vector<CallInFlight> calls(1000);
  for (CallInFlight& call : calls) ASSERT_TRUE(call.Begin(std::make_shared<ClientQuota>("ci", QuotaLimits{})).ok());
}

TEST_F(ClientQuotaTest, RowsAreOwedAtTheRateAndRefusedUntilTheyArePaidFor) {
  ClientQuota quota("ci", {.rows_per_second = 100});
  EXPECT_TRUE(Take(quota, 100).ok()) << "what a second allows, saved up";
  EXPECT_TRUE(Take(quota, 50).ok()) << "nothing is owed";
  const absl::Status refused = Take(quota, 1);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("\"ci\" has used up its quota of 100 rows per second"));
  EXPECT_EQ(RetryDelay(refused), absl::Milliseconds(500));
  clock.Advance(absl::Milliseconds(499));
  EXPECT_FALSE(Take(quota, 1).ok());
  clock.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(Take(quota, 1).ok());
  EXPECT_EQ(quota.rows(), 151u);
  EXPECT_EQ(quota.refused_rows(), 2u);
}

TEST_F(ClientQuotaTest, NoRequestIsTooLargeAndItsRowsAreOwedAfterwards) {
  ClientQuota quota("ci", {.rows_per_second = 1000});
  EXPECT_TRUE(Take(quota, 1'000'000).ok());
  EXPECT_EQ(RetryDelay(Take(quota, 1)), absl::Seconds(999));
}

TEST_F(ClientQuotaTest, TheMeanOverTimeKeepsToTheRate) {
  constexpr uint64_t kRate = 1000;
  constexpr uint64_t kLargest = 300;
  constexpr int kSeconds = 100;
  ClientQuota quota("ci", {.rows_per_second = kRate});
  std::mt19937_64 random(7);
  uint64_t taken = 0;
  for (int millisecond = 0; millisecond < 1000 * kSeconds; ++millisecond) {
    for (int i = 0; i < 3; ++i) {
      const uint64_t rows = random() % kLargest + 1;
      if (Take(quota, rows).ok()) taken += rows;
    }
    clock.Advance(absl::Milliseconds(1));
  }
  EXPECT_GE(taken, kRate * kSeconds);
  EXPECT_LE(taken, kRate * (kSeconds + 1) + kLargest);
}

TEST_F(ClientQuotaTest, RowsThatAreGivenBackWereNeverTaken) {
  ClientQuota quota("ci", {.rows_per_second = 10});
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(Take(quota, 1000).ok()) << i;
    quota.ReturnRows(1000);
  }
  EXPECT_EQ(quota.rows(), 0u);
}

TEST_F(ClientQuotaTest, WhatACallNeedsBesidesIsOwedOnTopOfEverything) {
  ClientQuota quota("ci", {.rows_per_second = 10});
  quota.ChargeRows(20, clock.Now());
  quota.ChargeRows(10, clock.Now());
  EXPECT_EQ(RetryDelay(Take(quota, 0)), absl::Seconds(2));
}

TEST_F(ClientQuotaTest, AClockThatIsSetBackLocksNobodyOutForLong) {
  ClientQuota quota("ci", {.rows_per_second = 10});
  EXPECT_TRUE(Take(quota, 20).ok());
  clock.Advance(-absl::Hours(1000));
  EXPECT_LE(RetryDelay(Take(quota, 1)), absl::Hours(1));
}

TEST_F(ClientQuotaTest, ANewRateHoldsFromThenOn) {
  ClientQuota quota("ci", {.rows_per_second = 10});
  EXPECT_TRUE(Take(quota, 20).ok());
  EXPECT_FALSE(Take(quota, 1).ok());
  quota.set_limits({});
  EXPECT_TRUE(Take(quota, 1000).ok());
}

TEST_F(ClientQuotaTest, CountsTheCallsInFlight) {
  const auto quota = std::make_shared<ClientQuota>("", QuotaLimits{.calls = 2});
  CallInFlight first;
  CallInFlight second;
  ASSERT_TRUE(first.Begin(quota).ok() && second.Begin(quota).ok());
  CallInFlight third;
  const absl::Status refused = third.Begin(quota);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("this address has 2 calls in flight"));
  EXPECT_GT(RetryDelay(refused), absl::ZeroDuration());
  EXPECT_EQ(third.quota(), nullptr);
  second = CallInFlight();
  EXPECT_EQ(quota->calls(), 1u);
  EXPECT_TRUE(third.Begin(quota).ok());
  CallInFlight moved = std::move(third);
  EXPECT_EQ(quota->calls(), 2u);
}

TEST_F(ClientQuotaTest, IsIdleOnceEverythingIsPaidForAndSavedUp) {
  const auto quota = std::make_shared<ClientQuota>("", QuotaLimits{.rows_per_second = 10, .calls = 1});
  EXPECT_TRUE(quota->IsIdle(clock.Now()));
  EXPECT_TRUE(Take(*quota, 10).ok());
  EXPECT_FALSE(quota->IsIdle(clock.Now()));
  clock.Advance(absl::Seconds(1));
  EXPECT_TRUE(quota->IsIdle(clock.Now()));
  CallInFlight call;
  EXPECT_TRUE(call.Begin(quota).ok());
  EXPECT_FALSE(quota->IsIdle(clock.Now()));
}

TEST_F(ClientQuotaTest, ThreadsShareOneAccount) {
  constexpr int kThreads = 4;
  ClientQuota quota("ci", {.rows_per_second = 1000});
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 2000; ++k) (void)Take(quota, 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(quota.rows(), 1001u) << "a second's rows, and the one that is let in owing nothing";
}

}  // namespace
}  // namespace densityd::serving
