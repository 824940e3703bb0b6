#include "server/serving/scheduler.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/serving/fakes.h"

namespace densityd::serving {
namespace {

using engine::Op;
using testing::ElementsAre;

class SchedulerTest : public testing::Test {
 protected:
  static constexpr size_t kTile = 64;

  std::shared_ptr<FakePlan> NewPlan(double scale = 1) const { return std::make_shared<FakePlan>(&clock, kTile, scale); }

  TestJob& Add(const std::shared_ptr<FakePlan>& plan, size_t rows, Op op = Op::kLogProb, int worker = 0) {
    TestJob& job = Make(plan, rows, op);
    const absl::Status status = scheduler.Submit(worker, job);
    EXPECT_TRUE(status.ok()) << status;
    return job;
  }
  TestJob& Make(const std::shared_ptr<FakePlan>& plan, size_t rows, Op op = Op::kLogProb) {
    jobs.push_back(std::make_unique<TestJob>(plan, rows, op, 1000.0 * static_cast<double>(jobs.size() + 1)));
    TestJob& job = *jobs.back();
    job.on_done = [this, index = jobs.size() - 1] { order.push_back(index); };
    return job;
  }
  void ExpectAllRight() const {
    for (const auto& job : jobs) {
      EXPECT_EQ(job->times_done, 1);
      EXPECT_TRUE(job->status.ok()) << job->status;
      EXPECT_TRUE(job->IsRight());
    }
    EXPECT_EQ(scheduler.queued_rows(), 0u);
    EXPECT_EQ(scheduler.queued_bytes(), 0u);
  }

  FakeClock clock;
  CountingObserver observer;
  std::vector<int> woken;
  std::vector<std::unique_ptr<TestJob>> jobs;
  std::vector<size_t> order;  ///< indices of jobs as they were done
  Scheduler scheduler{{.workers = 3}, clock, &observer, [this](int worker) { woken.push_back(worker); }};
};

TEST_F(SchedulerTest, HasNothingToRunWhenNothingWasSubmitted) { EXPECT_FALSE(scheduler.RunOne(0)); }

TEST_F(SchedulerTest, FusesTheRowsOfWaitingRequestsIntoOneRun) {
  const auto plan = NewPlan();
  for (const size_t rows : {1, 7, 30, 26}) Add(plan, rows);
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_FALSE(scheduler.RunOne(0));
  ASSERT_EQ(plan->runs().size(), 1u);
  EXPECT_THAT(plan->runs()[0].rows, ElementsAre(1, 7, 30, 26));
  EXPECT_EQ(observer.tiles, 1u);
  EXPECT_EQ(observer.rows, 64u);
  EXPECT_EQ(observer.spans, 4u);
  EXPECT_EQ(observer.queued, 4u);
  ExpectAllRight();
}

TEST_F(SchedulerTest, NeverRunsMoreRowsThanATile) {
  const auto plan = NewPlan();
  for (const size_t rows : {40, 24, 1, 64, 63, 2}) Add(plan, rows);
  Drain(scheduler);
  for (const auto& run : plan->runs()) EXPECT_LE(std::accumulate(run.rows.begin(), run.rows.end(), size_t{0}), kTile);
  ExpectAllRight();
}

TEST_F(SchedulerTest, FusesOnlyRowsOfTheSamePlanAndOp) {
  const auto a = NewPlan(1);
  const auto b = NewPlan(3);
  for (int i = 0; i < 3; ++i) {
    for (const Op op : {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample}) {
      Add(a, 2, op);
      Add(b, 3, op);
    }
  }
  Drain(scheduler);
  EXPECT_EQ(a->runs().size(), 4u);
  EXPECT_EQ(b->runs().size(), 4u);
  for (const auto& run : a->runs()) EXPECT_THAT(run.rows, ElementsAre(2, 2, 2));
  ExpectAllRight();
}

TEST_F(SchedulerTest, ReportsHowLongRequestsWaited) {
  const auto plan = NewPlan();
  Add(plan, 1);
  clock.Advance(absl::Milliseconds(3));
  Add(plan, 1);
  clock.Advance(absl::Milliseconds(2));
  Drain(scheduler);
  EXPECT_EQ(observer.waited_nanoseconds, 7000000);
}

TEST_F(SchedulerTest, CutsALargeRequestIntoEqualTilesWithItsOwnRows) {
  const auto plan = NewPlan();
  for (const Op op : {Op::kLogProb, Op::kSample}) Add(plan, 2 * kTile + 8, op);
  Drain(scheduler);
  ASSERT_EQ(plan->runs().size(), 6u);
  std::vector<size_t> rows;
  for (const auto& run : plan->runs()) rows.push_back(run.rows.at(0));
  EXPECT_THAT(rows, testing::UnorderedElementsAre(48, 48, 40, 48, 48, 40));
  EXPECT_EQ(observer.queued, 2u);
  ExpectAllRight();
}

TEST_F(SchedulerTest, RowsOfALargeRequestCountUntilTheirTileIsComputed) {
  TestJob& job = Add(NewPlan(), 3 * kTile);
  EXPECT_EQ(scheduler.queued_rows(), 3 * kTile);
  ASSERT_TRUE(scheduler.RunOne(0));
  EXPECT_EQ(scheduler.queued_rows(), 2 * kTile);
  job.cancelled = true;
  Drain(scheduler);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
  // What was counted out of it does not count for what it is next.
  job.cancelled = false;
  job.span = engine::Slice(job.span, 0, 5);
  ASSERT_TRUE(scheduler.Submit(0, job).ok());
  EXPECT_EQ(scheduler.queued_rows(), 5u);
  Drain(scheduler);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
}

TEST_F(SchedulerTest, IdleWorkersTakeTilesOfALargeRequest) {
  const auto plan = NewPlan();
  EXPECT_FALSE(scheduler.RunOne(1));
  EXPECT_FALSE(scheduler.RunOne(2));
  TestJob& job = Add(plan, 4 * kTile);
  EXPECT_THAT(woken, ElementsAre(1, 2));
  EXPECT_TRUE(scheduler.RunOne(1));
  EXPECT_TRUE(scheduler.RunOne(2));
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_FALSE(job.done());
  EXPECT_TRUE(scheduler.RunOne(1));
  EXPECT_TRUE(job.done());
  for (int worker = 0; worker < 3; ++worker) EXPECT_FALSE(scheduler.RunOne(worker));
  ExpectAllRight();
}

TEST_F(SchedulerTest, WorkersThatHadNothingToDoYetAreWokenToo) {
  const auto plan = NewPlan();
  Add(plan, 4 * kTile);
  EXPECT_THAT(woken, ElementsAre(1, 2));
  Drain(scheduler);
  ExpectAllRight();
}

TEST_F(SchedulerTest, WakesNoMoreWorkersThanThereAreTilesToGiveAndNoBusyOne) {
  const auto plan = NewPlan();
  for (int worker = 0; worker < 3; ++worker) EXPECT_FALSE(scheduler.RunOne(worker));
  Add(plan, kTile, Op::kLogProb, 1);  // worker 1 is awake from here on
  Add(plan, 2 * kTile, Op::kLogProb, 0);
  EXPECT_THAT(woken, ElementsAre(2));
  Add(plan, 8 * kTile, Op::kLogProb, 0);
  EXPECT_THAT(woken, ElementsAre(2)) << "both others are awake already";
  for (int worker = 0; worker < 3; ++worker) Drain(scheduler, worker);
  ExpectAllRight();
}

TEST_F(SchedulerTest, WhatAWorkerHasNotChosenFromYetIsLeftToIt) {
  const auto plan = NewPlan();
  for (int i = 0; i < 3; ++i) Add(plan, 1);
  EXPECT_FALSE(scheduler.RunOne(1)) << "more rows may come to share the run";
  EXPECT_TRUE(scheduler.RunOne(0));
  ASSERT_EQ(plan->runs().size(), 1u);
  EXPECT_THAT(plan->runs()[0].rows, ElementsAre(1, 1, 1));
  ExpectAllRight();
}

TEST_F(SchedulerTest, WhatAWorkerLeavesWaitingWhileItComputesIsTakenByOthers) {
  const auto plan = NewPlan();
  for (int i = 0; i < 3; ++i) Add(plan, kTile);
  bool nested = false;
  plan->during_run = [&] {
    if (std::exchange(nested, true)) return;
    EXPECT_TRUE(scheduler.RunOne(1));
    EXPECT_TRUE(scheduler.RunOne(2));
    EXPECT_FALSE(scheduler.RunOne(1));
    EXPECT_TRUE(jobs[1]->done() && jobs[2]->done());
  };
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_FALSE(scheduler.RunOne(0));
  ExpectAllRight();
}

TEST_F(SchedulerTest, SmallRequestsBehindATileOfALargeOneAreTakenByOthers) {
  const auto plan = NewPlan();
  const auto other = NewPlan(2);
  plan->run_time = other->run_time = absl::Milliseconds(1);
  Add(plan, 4 * kTile);
  EXPECT_TRUE(scheduler.RunOne(0));  // a tile of it
  for (int i = 0; i < 3; ++i) Add(other, kTile);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_EQ(other->runs().size(), 2u);
  plan->during_run = [&] {
    plan->during_run = nullptr;
    EXPECT_TRUE(scheduler.RunOne(1));
    EXPECT_TRUE(jobs.back()->done());
  };
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_EQ(plan->runs().size(), 2u) << "a tile of the large one again";
  Drain(scheduler);
  ExpectAllRight();
}

TEST_F(SchedulerTest, AnIdleWorkerIsWokenForWhatIsLeftAndOnlyThen) {
  const auto plan = NewPlan();
  for (int worker = 0; worker < 3; ++worker) EXPECT_FALSE(scheduler.RunOne(worker));
  for (int i = 0; i < 64; ++i) Add(plan, 1);
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_THAT(woken, testing::IsEmpty()) << "one run does it";
  for (int i = 0; i < 65; ++i) Add(plan, 1);
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_THAT(woken, ElementsAre(1));
  EXPECT_TRUE(scheduler.RunOne(0));
  ExpectAllRight();
}

TEST_F(SchedulerTest, SmallRequestsGoBetweenTheTilesOfALargeOne) {
  const auto plan = NewPlan();
  plan->row_time = absl::Microseconds(10);
  TestJob& large = Add(plan, 10 * kTile);
  Add(plan, kTile);
  int calls = 0;
  while (scheduler.RunOne(0)) {
    if (++calls < 8) Add(plan, kTile);
  }
  // Ever more small requests: one tile of the large request for each of them, as they cost the same.
  EXPECT_EQ(calls, 18);
  EXPECT_EQ(order.front(), 1u);
  EXPECT_TRUE(large.done());
  size_t small_done = 0;
  for (const size_t index : order) {
    if (index == 0) break;
    ++small_done;
  }
  EXPECT_EQ(small_done, 8u);
  ExpectAllRight();
}

TEST_F(SchedulerTest, AStreamOfSmallRequestsDoesNotStarveALargeOne) {
  const auto plan = NewPlan();
  plan->run_time = absl::Microseconds(100);
  TestJob& large = Add(plan, 5 * kTile);
  for (int i = 0; i < 40 && !large.done(); ++i) {
    Add(plan, 1);
    scheduler.RunOne(0);
  }
  EXPECT_TRUE(large.done());
  Drain(scheduler);
  ExpectAllRight();
}

TEST_F(SchedulerTest, ModelsGetEqualShareOfComputeTime) {
  const auto cheap = NewPlan(1);
  const auto dear = NewPlan(2);
  cheap->run_time = absl::Milliseconds(1);
  dear->run_time = absl::Milliseconds(8);
  for (int i = 0; i < 200; ++i) {
    Add(cheap, kTile);
    Add(dear, kTile);
  }
  for (int i = 0; i < 90; ++i) scheduler.RunOne(0);
  EXPECT_NEAR(static_cast<double>(cheap->runs().size()), 80, 8);
  EXPECT_NEAR(static_cast<double>(dear->runs().size()), 10, 1);
  Drain(scheduler);
  ExpectAllRight();
}

TEST_F(SchedulerTest, ModelsShareTheTilesOfLargeRequestsToo) {
  const auto a = NewPlan(1);
  const auto b = NewPlan(2);
  a->row_time = b->row_time = absl::Microseconds(1);
  Add(a, 100 * kTile);
  TestJob& late = Add(b, 3 * kTile);
  for (int i = 0; i < 7; ++i) scheduler.RunOne(0);
  EXPECT_TRUE(late.done());
  Drain(scheduler);
  ExpectAllRight();
}

TEST_F(SchedulerTest, AModelThatWasIdleHasNoCreditToSpend) {
  const auto busy = NewPlan(1);
  const auto idle = NewPlan(2);
  busy->run_time = idle->run_time = absl::Milliseconds(1);
  for (int i = 0; i < 50; ++i) Add(busy, kTile);
  for (int i = 0; i < 30; ++i) scheduler.RunOne(0);
  for (int i = 0; i < 20; ++i) Add(idle, kTile);
  for (int i = 0; i < 10; ++i) scheduler.RunOne(0);
  EXPECT_NEAR(static_cast<double>(busy->runs().size()), 35, 1);
  EXPECT_NEAR(static_cast<double>(idle->runs().size()), 5, 1);
  Drain(scheduler);
  ExpectAllRight();
}

TEST_F(SchedulerTest, TheMoreUrgentDeadlineGoesFirst) {
  const auto plan = NewPlan();
  const int milliseconds[] = {500, 100, 300, 200};
  for (const int left : milliseconds) {
    TestJob& job = Make(plan, kTile);
    job.deadline = clock.Now() + absl::Milliseconds(left);
    ASSERT_TRUE(scheduler.Submit(0, job).ok());
  }
  Add(plan, kTile);  // without a deadline
  Drain(scheduler);
  EXPECT_THAT(order, ElementsAre(1, 3, 2, 0, 4));
  ExpectAllRight();
}

TEST_F(SchedulerTest, EqualUrgencyIsServedInOrderOfArrival) {
  const auto plan = NewPlan();
  for (int i = 0; i < 20; ++i) Add(plan, kTile);
  Drain(scheduler);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  ExpectAllRight();
}

TEST_F(SchedulerTest, UrgentRequestsDoNotStarveOneWithoutADeadline) {
  const auto plan = NewPlan();
  plan->run_time = absl::Milliseconds(10);
  TestJob& patient = Add(plan, kTile);
  int runs = 0;
  while (!patient.done() && runs < 1000) {
    for (int i = 0; i < 2; ++i) {
      TestJob& job = Make(plan, kTile);
      job.deadline = clock.Now() + absl::Milliseconds(500);
      (void)scheduler.Submit(0, job);
    }
    scheduler.RunOne(0);
    ++runs;
  }
  EXPECT_TRUE(patient.done());
  EXPECT_LE(runs, 110);
}

TEST_F(SchedulerTest, APoisonedRequestFailsAloneAndItsNeighboursAreRight) {
  const auto plan = NewPlan();
  Add(plan, 5);
  TestJob& bad = Add(plan, 5);
  bad.input[3] = kPoison;
  Add(plan, 5);
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_EQ(plan->runs().size(), 4u) << "the fused run, then each request once";
  EXPECT_EQ(bad.status.code(), absl::StatusCode::kInternal);
  for (const size_t good : {0, 2}) {
    EXPECT_TRUE(jobs[good]->status.ok()) << jobs[good]->status;
    EXPECT_TRUE(jobs[good]->IsRight());
  }
  EXPECT_EQ(scheduler.queued_rows(), 0u);
}

TEST_F(SchedulerTest, WhatFailsForAllAlikeIsNotTriedForEach) {
  const auto plan = NewPlan();
  plan->poison_error = absl::ResourceExhaustedError("the device has no memory left");
  for (int i = 0; i < 3; ++i) Add(plan, 5);
  jobs[1]->input[3] = kPoison;
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_EQ(plan->runs().size(), 1u);
  for (const auto& job : jobs) EXPECT_EQ(job->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
}

TEST_F(SchedulerTest, ALoneRequestThatFailsIsNotRepeated) {
  const auto plan = NewPlan();
  Add(plan, 5).input[0] = kPoison;
  Drain(scheduler);
  EXPECT_EQ(plan->runs().size(), 1u);
  EXPECT_EQ(jobs[0]->status.code(), absl::StatusCode::kInternal);
}

TEST_F(SchedulerTest, ALargeRequestFailsWithItsFirstTileAndLeavesTheRestUncomputed) {
  const auto plan = NewPlan();
  Add(plan, 10 * kTile).input[2 * kTile + 1] = kPoison;
  Drain(scheduler);
  EXPECT_EQ(plan->runs().size(), 3u);
  EXPECT_EQ(jobs[0]->times_done, 1);
  EXPECT_EQ(jobs[0]->status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(scheduler.queued_rows(), 0u);
}

TEST_F(SchedulerTest, DoneMaySubmitAgainAndDestroyItsJob) {
  const auto plan = NewPlan();
  auto first = std::make_unique<TestJob>(plan, 3);
  first->on_done = [&] {
    first.reset();
    Add(plan, 4);
  };
  ASSERT_TRUE(scheduler.Submit(0, *first).ok());
  EXPECT_EQ(Drain(scheduler), 2);
  EXPECT_EQ(first, nullptr);
  ExpectAllRight();
}

TEST_F(SchedulerTest, APlanIsReleasedWithItsLastJob) {
  auto plan = NewPlan();
  const std::weak_ptr<FakePlan> alive = plan;
  Add(plan, 3);
  Add(plan, 3 * kTile);
  plan.reset();
  Drain(scheduler);
  ExpectAllRight();
  jobs.clear();
  EXPECT_TRUE(alive.expired()) << "the scheduler keeps an unloaded model in memory";
}

TEST(SchedulerDestructor, DoesNotForgetJobs) {
  const FakeClock clock;
  const auto plan = std::make_shared<FakePlan>(&clock, 64);
  TestJob small(plan, 3);
  TestJob large(plan, 300);
  {
    Scheduler scheduler({.workers = 2}, clock, nullptr, nullptr);
    ASSERT_TRUE(scheduler.Submit(0, small).ok());
    ASSERT_TRUE(scheduler.Submit(1, large).ok());
  }
  for (const TestJob* job : {&small, &large}) {
    EXPECT_EQ(job->times_done, 1);
    EXPECT_EQ(job->status.code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_TRUE(plan->runs().empty());
}

}  // namespace
}  // namespace densityd::serving
