// What requests hold while they come in: the rules alone, without gRPC.
#include "server/rpc/row_reads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "server/telemetry/metrics.h"
#include "tests/serving/fakes.h"

namespace densityd::rpc {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMiB = 1 << 20;
constexpr size_t kWindow = 64 << 10;
constexpr size_t kBorne = 32;

class FakeRead : public RowReads::Read {
 public:
  explicit FakeRead(uint64_t sender = 1) : Read(held), sender_(sender) {}
  ~FakeRead() override = default;

  Reservation held;
  bool started = false;
  absl::Status may_come_later;
  absl::Status refused;

 private:
  void Start() override { started = true; }
  absl::Status MayComeLater() override { return may_come_later; }
  uint64_t sender() const override { return sender_; }
  void OnRefused(const absl::Status& status) override { refused = status; }

  const uint64_t sender_;
};

class RowReadsTest : public ::testing::Test {
 protected:
  explicit RowReadsTest(size_t ceiling = 64 * kMiB)
      : scheduler_({.workers = 1, .max_queued_rows = 1000, .max_queued_bytes = ceiling}, clock_, &metrics_, nullptr),
        reads_(scheduler_, metrics_, clock_) {}

  /// One that does not come at once.
  std::unique_ptr<FakeRead> Coming(uint64_t sender = 1) {
    auto read = std::make_unique<FakeRead>(sender);
    EXPECT_TRUE(reads_.Begin(*read).ok());
    reads_.Settle();
    return read;
  }
  size_t held() const { return scheduler_.queued_bytes(); }

  serving::FakeClock clock_;
  telemetry::Metrics metrics_{1};
  serving::Scheduler scheduler_;
  RowReads reads_;
};

TEST_F(RowReadsTest, WhatIsReadHoldsWhatIsAskedForAndThenWhatItIs) {
  FakeRead read;
  ASSERT_TRUE(reads_.Begin(read).ok());
  EXPECT_TRUE(read.started);
  EXPECT_TRUE(reads_.has_new());
  EXPECT_EQ(held(), kMiB);
  ASSERT_TRUE(reads_.End(read, 100).ok());
  EXPECT_FALSE(reads_.has_new());
  EXPECT_EQ(held(), 100U);
  read.held.Release();
  EXPECT_EQ(held(), 0U);
}

TEST_F(RowReadsTest, WhatDoesNotComeAtOnceHoldsWhatSuchMessagesWereLately) {
  auto first = Coming();
  EXPECT_EQ(held(), kMiB) << "nothing is known yet";
  ASSERT_TRUE(reads_.End(*first, 10 * kMiB).ok());
  EXPECT_EQ(held(), 10 * kMiB);
  auto second = Coming();
  EXPECT_EQ(held(), 20 * kMiB);
  ASSERT_TRUE(reads_.End(*second, 0).ok()) << "its caller is gone";
  EXPECT_EQ(held(), 10 * kMiB);
  // Small ones are not made to wait for what a large one was.
  for (int i = 0; i < 100; ++i) {
    auto small = Coming();
    ASSERT_TRUE(reads_.End(*small, kMiB).ok());
    ASSERT_TRUE(small->refused.ok());
  }
  auto last = Coming();
  EXPECT_EQ(held(), 11 * kMiB);
  EXPECT_TRUE(reads_.End(*last, 1).ok());
}

TEST_F(RowReadsTest, ManyAtATimeWaitUnreadUntilItIsKnownWhatOthersAre) {
  std::vector<std::unique_ptr<FakeRead>> reads;
  const auto started = [&] {
    return std::count_if(reads.begin(), reads.end(), [](const auto& read) { return read->started; });
  };
  for (int i = 0; i < 80; ++i) {
    reads.push_back(std::make_unique<FakeRead>());
    ASSERT_TRUE(reads_.Begin(*reads.back()).ok());
  }
  EXPECT_EQ(started(), 32) << "half of the memory";
  EXPECT_LE(held(), 64 * kMiB);
  // They are small: the others follow.
  for (const auto& read : reads) {
    ASSERT_TRUE(read->started);
    ASSERT_TRUE(reads_.End(*read, 100).ok());
  }
  EXPECT_EQ(held(), 80 * 100U);
  EXPECT_FALSE(reads_.has_new());
}

TEST_F(RowReadsTest, WhereThereIsLittleRoomCallsAreReadOneByOneToSeeWhetherTheyAreSmall) {
  auto large = Coming();
  ASSERT_TRUE(reads_.End(*large, 64 * kMiB - 4 * kWindow).ok());
  std::vector<std::unique_ptr<FakeRead>> reads;
  for (int i = 0; i < 3; ++i) {
    reads.push_back(std::make_unique<FakeRead>());
    ASSERT_TRUE(reads_.Begin(*reads.back()).ok());
  }
  EXPECT_TRUE(reads[0]->started);
  EXPECT_FALSE(reads[1]->started);
  ASSERT_TRUE(reads_.End(*reads[0], 100).ok());
  EXPECT_TRUE(reads[1]->started);
  EXPECT_FALSE(reads[2]->started);
  reads_.Settle();
  EXPECT_TRUE(absl::IsResourceExhausted(reads[1]->refused)) << "it is not small";
  EXPECT_TRUE(reads[2]->started);
  EXPECT_TRUE(reads_.End(*reads[2], 100).ok());
}

TEST_F(RowReadsTest, NoMoreIsHeldThanTheCeilingAndWhoFindsNoRoomIsToldWhenToComeBack) {
  std::vector<std::unique_ptr<FakeRead>> reads;
  size_t refused = 0;
  for (int i = 0; i < 200; ++i) {
    reads.push_back(std::make_unique<FakeRead>());
    const absl::Status status = reads_.Begin(*reads.back());
    if (status.ok()) {
      reads_.Settle();
    } else {
      reads.back()->refused = status;
    }
    EXPECT_LE(held(), 64 * kMiB);
    if (reads.back()->refused.ok()) continue;
    ++refused;
    EXPECT_TRUE(absl::IsResourceExhausted(reads.back()->refused));
    EXPECT_TRUE(reads.back()->refused.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
    EXPECT_EQ(reads.back()->held.bytes(), 0U);
  }
  EXPECT_EQ(refused, 200 - 64U);
  EXPECT_THAT(metrics_.Text(), HasSubstr("densityd_rejected_total{reason=\"bytes\"} 136"));
  // One that turns out to be larger than there is room for is refused when that is known.
  EXPECT_TRUE(absl::IsResourceExhausted(reads_.End(*reads[0], 2 * kMiB)));
  EXPECT_EQ(held(), 63 * kMiB);
  for (const auto& read : reads) {
    if (read->refused.ok() && read != reads[0]) {
      EXPECT_TRUE(reads_.End(*read, 1).ok());
    }
  }
}

TEST_F(RowReadsTest, SomeSendersMayBeSlow) {
  std::vector<std::unique_ptr<FakeRead>> reads;
  for (size_t i = 0; i < kBorne; ++i) reads.push_back(Coming());
  clock_.Advance(absl::Hours(1));
  reads_.Settle();
  EXPECT_EQ(reads_.next_look(), absl::InfiniteFuture());
  for (const auto& read : reads) {
    EXPECT_TRUE(read->refused.ok());
    EXPECT_TRUE(reads_.End(*read, kMiB).ok());
  }
}

TEST_F(RowReadsTest, OfTooManySlowOnesTheSenderWithMostLosesTheOldest) {
  auto patient = Coming(/*sender=*/2);
  std::vector<std::unique_ptr<FakeRead>> reads;
  for (size_t i = 0; i < kBorne + 3; ++i) {
    clock_.Advance(absl::Milliseconds(1));
    reads.push_back(Coming());
  }
  EXPECT_LE(reads_.next_look(), clock_.Now() + absl::Seconds(1));
  EXPECT_GT(reads_.next_look(), clock_.Now());
  clock_.Advance(absl::Seconds(1));
  reads_.Settle();
  EXPECT_TRUE(patient->refused.ok());
  for (size_t i = 0; i < reads.size(); ++i) EXPECT_EQ(reads[i]->refused.ok(), i >= 4) << i;
  EXPECT_TRUE(absl::IsResourceExhausted(reads[0]->refused));
  EXPECT_THAT(std::string(reads[0]->refused.message()), HasSubstr("the request had not come in after 1.03"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("densityd_rejected_total{reason=\"slow\"} 4"));
  EXPECT_EQ(reads_.next_look(), absl::InfiniteFuture());
  EXPECT_TRUE(reads_.End(*patient, 1).ok());
  for (size_t i = 4; i < reads.size(); ++i) EXPECT_TRUE(reads_.End(*reads[i], 1).ok());
}

TEST_F(RowReadsTest, WhileNobodyLooksNobodyIsSlow) {
  std::vector<std::unique_ptr<FakeRead>> reads;
  for (size_t i = 0; i < kBorne + 3; ++i) reads.push_back(Coming());
  clock_.Advance(absl::Seconds(10));
  reads_.OnBlind(absl::Milliseconds(9001));
  reads_.Settle();
  for (const auto& read : reads) EXPECT_TRUE(read->refused.ok());
  EXPECT_EQ(reads_.next_look(), clock_.Now() + absl::Milliseconds(1));
  clock_.Advance(absl::Milliseconds(1));
  reads_.Settle();
  for (size_t i = 0; i < reads.size(); ++i) EXPECT_EQ(reads[i]->refused.ok(), i >= 3) << i;
  for (size_t i = 3; i < reads.size(); ++i) EXPECT_TRUE(reads_.End(*reads[i], 1).ok());
}

TEST_F(RowReadsTest, SlowOnesGiveWayWhereTheirMemoryIsNeeded) {
  auto large = Coming();
  ASSERT_TRUE(reads_.End(*large, 16 * kMiB).ok());
  std::vector<std::unique_ptr<FakeRead>> slow;
  for (int i = 0; i < 3; ++i) slow.push_back(Coming(i));
  EXPECT_EQ(held(), 64 * kMiB);
  auto early = std::make_unique<FakeRead>();
  EXPECT_TRUE(absl::IsResourceExhausted(reads_.Begin(*early))) << "nobody is slow yet";
  clock_.Advance(absl::Seconds(2));
  auto next = std::make_unique<FakeRead>();
  ASSERT_TRUE(reads_.Begin(*next).ok());
  EXPECT_EQ(slow[0]->refused.ok() + slow[1]->refused.ok() + slow[2]->refused.ok(), 2);
  EXPECT_TRUE(reads_.End(*next, 1).ok());
  for (const auto& read : slow) {
    if (read->refused.ok()) {
      EXPECT_TRUE(reads_.End(*read, 1).ok());
    }
  }
}

TEST_F(RowReadsTest, WhoHasBegunIsNotRefusedForANewcomerOfHisOwn) {
  auto large = Coming();
  ASSERT_TRUE(reads_.End(*large, 48 * kMiB).ok());
  auto slow = Coming();
  clock_.Advance(absl::Seconds(9));
  FakeRead next;
  EXPECT_TRUE(absl::IsResourceExhausted(reads_.Begin(next)));
  EXPECT_TRUE(slow->refused.ok());
  clock_.Advance(absl::Seconds(2));
  EXPECT_TRUE(reads_.Begin(next).ok());
  EXPECT_FALSE(slow->refused.ok());
  EXPECT_TRUE(reads_.End(next, 1).ok());
}

TEST_F(RowReadsTest, StrangersMayNotComeLater) {
  FakeRead read;
  read.may_come_later = absl::UnauthenticatedError("no credentials");
  ASSERT_TRUE(reads_.Begin(read).ok());
  reads_.Settle();
  EXPECT_EQ(read.refused, read.may_come_later);
  EXPECT_EQ(held(), 0U);
}

class LowCeilingTest : public RowReadsTest {
 protected:
  LowCeilingTest() : RowReadsTest(1600) {}
};

TEST_F(LowCeilingTest, LeavesRoomForSomeAtTheSameTime) {
  std::vector<std::unique_ptr<FakeRead>> reads;
  for (int i = 0; i < 4; ++i) {
    reads.push_back(Coming());
    EXPECT_TRUE(reads.back()->refused.ok());
  }
  for (const auto& read : reads) EXPECT_TRUE(reads_.End(*read, 300).ok());
}

}  // namespace
}  // namespace densityd::rpc
