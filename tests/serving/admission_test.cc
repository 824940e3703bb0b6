// What the scheduler refuses, and what it gives up.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "server/serving/scheduler.h"
#include "tests/serving/fakes.h"

namespace densityd::serving {
namespace {

using engine::Op;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr size_t kTile = 64;

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload("type.googleapis.com/google.rpc.RetryInfo");
  if (!payload.has_value()) return std::nullopt;
  google::rpc::RetryInfo info;
  EXPECT_TRUE(info.ParseFromString(std::string(*payload)));
  return absl::Seconds(info.retry_delay().seconds()) + absl::Nanoseconds(info.retry_delay().nanos());
}

class AdmissionTest : public testing::Test {
 protected:
  TestJob& Make(size_t rows, absl::Duration left = absl::InfiniteDuration()) {
    jobs.push_back(std::make_unique<TestJob>(plan, rows));
    jobs.back()->deadline = clock.Now() + left;
    return *jobs.back();
  }
  absl::Status Submit(size_t rows, absl::Duration left = absl::InfiniteDuration()) {
    return scheduler.Submit(0, Make(rows, left));
  }
  /// Runs of 1 and 64 rows that the scheduler has measured.
  void Measure() {
    for (const size_t rows : {1, 1, 64, 64}) {
      ASSERT_TRUE(Submit(rows).ok());
      Drain(scheduler);
    }
    measured_runs = plan->runs().size();
  }

  FakeClock clock;
  CountingObserver observer;
  std::shared_ptr<FakePlan> plan = std::make_shared<FakePlan>(&clock, kTile);
  std::vector<std::unique_ptr<TestJob>> jobs;
  size_t measured_runs = 0;
  Scheduler scheduler{{.workers = 2, .max_queued_rows = 1000, .max_queued_bytes = 24000}, clock, &observer, nullptr};
};

TEST_F(AdmissionTest, RoomCanBeAskedForBeforeAnythingIsMadeReady) {
  EXPECT_TRUE(scheduler.CheckRoom(1000).ok());
  EXPECT_EQ(scheduler.queued_rows(), 0u) << "nothing is taken";
  ASSERT_TRUE(Submit(900).ok());
  EXPECT_TRUE(scheduler.CheckRoom(100).ok());
  const absl::Status full = scheduler.CheckRoom(101);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryDelay(full).has_value());
  const absl::Status too_large = scheduler.CheckRoom(1001);
  EXPECT_THAT(std::string(too_large.message()), HasSubstr("send it in parts"));
  EXPECT_FALSE(RetryDelay(too_large).has_value());
  Drain(scheduler);
}

TEST_F(AdmissionTest, ARequestWithoutRowsIsInvalid) { EXPECT_EQ(Submit(0).code(), absl::StatusCode::kInvalidArgument); }

TEST_F(AdmissionTest, RowsAreBoundedToTheLastOne) {
  ASSERT_TRUE(Submit(990).ok());
  EXPECT_EQ(Submit(11).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Submit(10).ok());
  EXPECT_EQ(scheduler.queued_rows(), 1000u);
  EXPECT_EQ(scheduler.queued_bytes(), 24000u);
  EXPECT_EQ(Submit(1).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(observer.reasons(), ElementsAre("rows", "rows"));
  Drain(scheduler);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
  EXPECT_EQ(scheduler.queued_bytes(), 0u);
  EXPECT_TRUE(Submit(1000).ok());
  Drain(scheduler);
}

TEST_F(AdmissionTest, BytesAreBoundedAndARefusalLeavesNothingCounted) {
  TestJob& fat = Make(1);
  fat.bytes = 23999;
  ASSERT_TRUE(scheduler.Submit(0, fat).ok());
  EXPECT_EQ(Submit(1).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(observer.reasons(), ElementsAre("bytes"));
  EXPECT_EQ(scheduler.queued_rows(), 1u);
  EXPECT_EQ(scheduler.queued_bytes(), 23999u);
  Drain(scheduler);
}

TEST_F(AdmissionTest, WhatOthersHaveOfTheServersMemoryIsNotThere) {
  MemoryBudget whole(1000);
  MemoryBudget models(1000, &whole);
  Reservation model;
  ASSERT_TRUE(models.Reserve(900, model));
  Scheduler shared({.max_queued_bytes = 500, .memory = &whole}, clock, &observer, nullptr);
  TestJob& fits = Make(1);
  fits.bytes = 100;
  ASSERT_TRUE(shared.Submit(0, fits).ok());
  TestJob& refused = Make(1);
  refused.bytes = 1;
  const absl::Status status = shared.Submit(0, refused);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1000 of 1000 bytes (--max-memory)"));
  EXPECT_TRUE(RetryDelay(status).has_value());
  model.Release();
  EXPECT_TRUE(shared.Submit(0, refused).ok());
  Drain(shared);
}

TEST_F(AdmissionTest, WhereNoRowFitsARequestIsRefusedUnread) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  ASSERT_TRUE(Submit(999).ok());
  EXPECT_TRUE(scheduler.CheckAnyRoom().ok());
  ASSERT_TRUE(Submit(1).ok());
  const absl::Status full = scheduler.CheckAnyRoom();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(RetryDelay(full).has_value());
  // For a request of about a hundred rows, as they were lately, by two workers.
  EXPECT_NEAR(absl::ToDoubleMilliseconds(*RetryDelay(full)), 50, 30);
  EXPECT_THAT(observer.reasons(), ElementsAre("rows"));
  Drain(scheduler);
  EXPECT_TRUE(scheduler.CheckAnyRoom().ok());
}

TEST_F(AdmissionTest, ARequestLargerThanTheQueueIsToldSoAndNotToRetry) {
  const absl::Status rows = Submit(1001);
  EXPECT_EQ(rows.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(rows.message()), HasSubstr("1001 rows; the queue holds at most 1000"));
  EXPECT_FALSE(RetryDelay(rows).has_value());
  TestJob& endless = Make(1);
  endless.bytes = ~size_t{0};
  EXPECT_FALSE(RetryDelay(scheduler.Submit(0, endless)).has_value());
  TestJob& overflowing = Make(1);
  overflowing.span.rows = ~size_t{0};
  EXPECT_EQ(scheduler.Submit(0, overflowing).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
}

TEST_F(AdmissionTest, TheRetryHintIsTheTimeThatTheExcessRowsTake) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  ASSERT_TRUE(Submit(1000).ok());
  const absl::Status status = Submit(200);
  ASSERT_TRUE(RetryDelay(status).has_value()) << status;
  // 200 rows of 1 ms by two workers.
  EXPECT_NEAR(absl::ToDoubleMilliseconds(*RetryDelay(status)), 100, 5);
  Drain(scheduler);
}

TEST_F(AdmissionTest, TheRetryHintIsASecondWhereNothingWasMeasured) {
  ASSERT_TRUE(Submit(1000).ok());
  EXPECT_EQ(RetryDelay(Submit(1)), absl::Seconds(1));
  Drain(scheduler);
}

TEST_F(AdmissionTest, APastDeadlineIsRefusedBeforeAnyWork) {
  for (const size_t rows : {1, 500})
    EXPECT_EQ(Submit(rows, absl::ZeroDuration()).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(scheduler.RunOne(0));
  EXPECT_THAT(observer.reasons(), ElementsAre("deadline", "deadline"));
}

TEST_F(AdmissionTest, ACancelledRequestIsRefused) {
  TestJob& job = Make(1);
  job.cancelled = true;
  EXPECT_EQ(scheduler.Submit(0, job).code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(scheduler.RunOne(0));
}

TEST_F(AdmissionTest, NothingIsRefusedByTimeBeforeItWasMeasured) {
  plan->row_time = absl::Seconds(1);
  EXPECT_TRUE(Submit(1, absl::Milliseconds(1)).ok());
  EXPECT_TRUE(Submit(900, absl::Milliseconds(1)).ok());
}

TEST_F(AdmissionTest, ADeadlineThatTheRowsAloneCannotMeetIsRefused) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  EXPECT_EQ(Submit(32, absl::Milliseconds(25)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Submit(32, absl::Milliseconds(35)).ok());
  // Ten tiles of 64 ms by two workers.
  EXPECT_EQ(Submit(640, absl::Milliseconds(300)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Submit(640, absl::Milliseconds(340)).ok());
  Drain(scheduler);
}

TEST_F(AdmissionTest, ADeadlineThatTheQueueCannotMeetIsRefused) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  // What waits is done by two workers, one millisecond for a row.
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Submit(20, absl::Milliseconds(400)).ok());
  const absl::Status status = Submit(1, absl::Milliseconds(400) + absl::Nanoseconds(1));
  EXPECT_TRUE(status.ok()) << status;
  // 50 ms wait before it where it is the least urgent, none where it is the most urgent.
  EXPECT_TRUE(Submit(1, absl::Milliseconds(45)).ok());
  for (int i = 0; i < 35; ++i) ASSERT_TRUE(Submit(20, absl::Milliseconds(398)).ok());
  EXPECT_EQ(Submit(20, absl::Milliseconds(400)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Submit(20, absl::Milliseconds(397)).ok()) << "more urgent than the others";
  Drain(scheduler);
}

TEST_F(AdmissionTest, WhatTheQueueAloneKeepsFromItsDeadlineIsToldWhenToComeBack) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  EXPECT_FALSE(RetryDelay(Submit(32, absl::Milliseconds(25))).has_value()) << "it never fits";
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(Submit(128, absl::Milliseconds(290)).ok());
  const absl::Status refused = Submit(128, absl::Milliseconds(300));
  EXPECT_EQ(refused.code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(RetryDelay(refused).has_value());
  // Four of 128 rows by two workers before it, 64 ms for itself.
  EXPECT_NEAR(absl::ToDoubleMilliseconds(*RetryDelay(refused)), 256 + 64 - 300, 2);
  Drain(scheduler);
}

TEST_F(AdmissionTest, AClientIsNotRefusedForWhatAnotherOneHasQueued) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(Submit(20, absl::Milliseconds(500)).ok());
  EXPECT_EQ(Submit(20, absl::Milliseconds(400) + absl::Milliseconds(101)).code(), absl::StatusCode::kOk);
  TestJob& heavy = Make(20, absl::Milliseconds(501));
  heavy.deadline = clock.Now() + absl::Milliseconds(400);
  EXPECT_TRUE(scheduler.Submit(0, heavy).ok()) << "the most urgent of its client's";
  TestJob& other = Make(20, absl::Milliseconds(60));
  other.client = 7;
  EXPECT_TRUE(scheduler.Submit(0, other).ok()) << "it waits for 20 rows of the other client at most";
  TestJob& late = Make(20, absl::Milliseconds(15));
  late.client = 8;
  EXPECT_EQ(scheduler.Submit(0, late).code(), absl::StatusCode::kDeadlineExceeded);
  Drain(scheduler);
}

TEST_F(AdmissionTest, APlanThatWasMeasuredWhenItWasMadeRefusesFromTheFirstRequestOn) {
  plan->set_run_time(Op::kLogProb, engine::RunTime({{1, 0.010}, {64, 0.640}}));
  EXPECT_EQ(Submit(64, absl::Milliseconds(300)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Submit(64, absl::Milliseconds(330)).ok()) << "half of it is believed";
  Drain(scheduler);
}

TEST_F(AdmissionTest, MemoryCountsUntilItIsReleased) {
  TestJob& job = Make(1);
  job.bytes = 24000;
  Reservation kept;
  job.on_done = [&] { EXPECT_EQ(scheduler.queued_rows(), 0u); };
  ASSERT_TRUE(scheduler.Submit(0, job).ok());
  kept = std::move(job.memory);  // as one does whose answer is still to be sent
  Drain(scheduler);
  EXPECT_EQ(scheduler.queued_bytes(), 24000u);
  EXPECT_EQ(Submit(1).code(), absl::StatusCode::kResourceExhausted);
  kept.Release();
  EXPECT_EQ(scheduler.queued_bytes(), 0u);
  EXPECT_TRUE(Submit(1).ok());
  Drain(scheduler);
}

TEST_F(AdmissionTest, AMeasurementThatIsOldRefusesNothing) {
  plan->row_time = absl::Milliseconds(10);
  Measure();
  EXPECT_FALSE(Submit(64, absl::Milliseconds(100)).ok());
  clock.Advance(absl::Seconds(11));
  EXPECT_TRUE(Submit(64, absl::Milliseconds(100)).ok());
  Drain(scheduler);
}

TEST_F(AdmissionTest, ExpiredRowsAreNeverComputed) {
  ASSERT_TRUE(Submit(5, absl::Milliseconds(10)).ok());
  ASSERT_TRUE(Submit(5, absl::Milliseconds(30)).ok());
  ASSERT_TRUE(Submit(500, absl::Milliseconds(10)).ok());
  clock.Advance(absl::Milliseconds(10));
  Drain(scheduler);
  EXPECT_EQ(jobs[0]->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(jobs[1]->status.ok()) << jobs[1]->status;
  EXPECT_EQ(jobs[2]->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(plan->rows_computed(), 5u);
  EXPECT_THAT(observer.reasons(), ElementsAre("deadline", "deadline"));
  EXPECT_EQ(scheduler.queued_rows(), 0u);
}

TEST_F(AdmissionTest, CancelledRowsAreNeverComputed) {
  for (const size_t rows : {5, 6, 500}) ASSERT_TRUE(Submit(rows).ok());
  jobs[0]->cancelled = true;
  jobs[2]->cancelled = true;
  Drain(scheduler);
  EXPECT_EQ(jobs[0]->status.code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(jobs[1]->status.ok());
  EXPECT_EQ(jobs[2]->status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(plan->rows_computed(), 6u);
  EXPECT_EQ(scheduler.queued_bytes(), 0u);
}

TEST_F(AdmissionTest, ALargeRequestStopsAtTheTileInWhichItIsCancelledOrExpires) {
  for (const bool cancel : {true, false}) {
    TestJob& job = Make(10 * kTile, absl::Milliseconds(10));
    size_t tiles = 0;
    plan->during_run = [&] {
      if (++tiles != 3) return;
      if (cancel) job.cancelled = true;
      clock.Advance(absl::Milliseconds(20));
    };
    ASSERT_TRUE(scheduler.Submit(0, job).ok());
    Drain(scheduler);
    EXPECT_EQ(tiles, 3u);
    EXPECT_EQ(job.times_done, 1);
    EXPECT_EQ(job.status.code(), cancel ? absl::StatusCode::kCancelled : absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(scheduler.queued_rows(), 0u);
  }
}

TEST_F(AdmissionTest, ACancelledLargeRequestIsDoneOnlyAfterTheTilesInComputation) {
  TestJob& job = Make(10 * kTile);
  int tiles = 0;
  plan->during_run = [&] {
    if (++tiles != 1) return;
    // While worker 0 computes, the call is cancelled, and worker 1 looks for work.
    job.cancelled = true;
    EXPECT_FALSE(scheduler.RunOne(1));
    EXPECT_FALSE(job.done()) << "its rows are still being written";
  };
  ASSERT_TRUE(scheduler.Submit(0, job).ok());
  Drain(scheduler);
  EXPECT_EQ(tiles, 1);
  EXPECT_EQ(job.times_done, 1);
  EXPECT_EQ(job.status.code(), absl::StatusCode::kCancelled);
}

TEST_F(AdmissionTest, WhatCannotBeAnsweredInTimeAnyMoreIsNotComputed) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  TestJob& late = Make(10, absl::Milliseconds(30));
  TestJob& good = Make(10, absl::Milliseconds(100));
  ASSERT_TRUE(scheduler.Submit(0, late).ok());
  ASSERT_TRUE(scheduler.Submit(0, good).ok());
  clock.Advance(absl::Milliseconds(25));
  Drain(scheduler);
  EXPECT_EQ(late.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(good.status.ok()) << good.status;
  ASSERT_EQ(plan->runs().size(), measured_runs + 1);
  EXPECT_THAT(plan->runs().back().rows, ElementsAre(10));
  EXPECT_THAT(observer.reasons(), ElementsAre("deadline"));
}

TEST_F(AdmissionTest, ARunIsNoLongerThanThoseWhoShareItHaveTime) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  TestJob& hurried = Make(10, absl::Milliseconds(25));
  TestJob& patient = Make(10, absl::Milliseconds(200));
  TestJob& other = Make(10);
  for (TestJob* job : {&hurried, &patient, &other}) ASSERT_TRUE(scheduler.Submit(0, *job).ok());
  Drain(scheduler);
  for (const TestJob* job : {&hurried, &patient, &other}) EXPECT_TRUE(job->status.ok()) << job->status;
  ASSERT_EQ(plan->runs().size(), measured_runs + 2);
  EXPECT_THAT(plan->runs()[measured_runs].rows, ElementsAre(10, 10)) << "three would be too late for the first";
  EXPECT_THAT(plan->runs().back().rows, ElementsAre(10));
}

TEST_F(AdmissionTest, OfALargeRequestThatCannotBeDoneInTimeNoMoreIsComputed) {
  plan->row_time = absl::Milliseconds(1);
  Measure();
  // Two workers could do it in 150 ms; there is one, and it takes twice as long.
  TestJob& large = Make(300, absl::Milliseconds(200));
  ASSERT_TRUE(scheduler.Submit(0, large).ok());
  Drain(scheduler);
  EXPECT_EQ(large.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(plan->runs().size(), measured_runs + 4);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
}

TEST_F(AdmissionTest, WhatIsHeldForARequestOnItsWayBecomesItsMemory) {
  Reservation held;
  ASSERT_TRUE(scheduler.Hold(20000, held).ok());
  EXPECT_EQ(scheduler.queued_bytes(), 20000u);
  Reservation other;
  const absl::Status refused = scheduler.Hold(5000, other);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryDelay(refused).has_value());
  EXPECT_FALSE(RetryDelay(scheduler.Hold(24001, other)).has_value()) << "it never fits";
  EXPECT_EQ(other.bytes(), 0u);
  TestJob& job = Make(1);
  job.bytes = 21000;
  job.memory = std::move(held);
  ASSERT_TRUE(scheduler.Submit(0, job).ok());
  EXPECT_EQ(scheduler.queued_bytes(), 21000u);
  Drain(scheduler);
  TestJob& larger = Make(1);
  larger.bytes = 24001;
  ASSERT_TRUE(scheduler.Hold(100, larger.memory).ok());
  EXPECT_EQ(scheduler.Submit(0, larger).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(larger.memory.bytes(), 100u) << "as it was";
  ASSERT_TRUE(scheduler.Hold(50, larger.memory).ok());
  EXPECT_EQ(scheduler.queued_bytes(), 50u);
  larger.memory.Release();
}

}  // namespace
}  // namespace densityd::serving
