// Batch rows go when no interactive ones wait, and are not put off for ever.
#include <map>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/serving/scheduler.h"
#include "tests/serving/fakes.h"

namespace densityd::serving {
namespace {

using testing::ElementsAre;

constexpr size_t kTile = 64;

class PriorityTest : public testing::Test {
 protected:
  PriorityTest() { plan->run_time = absl::Milliseconds(1); }

  TestJob& Make(Priority priority, size_t rows) {
    jobs.push_back(std::make_unique<TestJob>(plan, rows));
    TestJob& job = *jobs.back();
    job.priority = priority;
    job.on_done = [this, priority, rows] {
      order.push_back(priority);
      --waiting[priority];
      rows_done[priority] += rows;
    };
    return job;
  }
  TestJob& Add(Priority priority, size_t rows, uint64_t client = 0) {
    TestJob& job = Make(priority, rows);
    job.client = client;
    const absl::Status status = scheduler.Submit(0, job);
    EXPECT_TRUE(status.ok()) << status;
    ++waiting[priority];
    return job;
  }
  /// Runs for so long, with interactive requests of a tile always waiting.
  void RunUnderLoad(absl::Duration duration) {
    for (const absl::Time end = clock.Now() + duration; clock.Now() < end;) {
      while (waiting[Priority::kInteractive] < 3) Add(Priority::kInteractive, kTile);
      ASSERT_TRUE(scheduler.RunOne(0));
    }
  }

  FakeClock clock;
  CountingObserver observer;
  std::shared_ptr<FakePlan> plan = std::make_shared<FakePlan>(&clock, kTile);
  std::vector<std::unique_ptr<TestJob>> jobs;
  std::vector<Priority> order;  ///< of jobs as they were done
  std::map<Priority, size_t> rows_done;
  std::map<Priority, int> waiting;  ///< jobs that were added and are not done
  Scheduler scheduler{{.workers = 2}, clock, &observer, nullptr};
};

TEST_F(PriorityTest, InteractiveRequestsGoBeforeBatchOnesThatCameEarlier) {
  for (int i = 0; i < 2; ++i) Add(Priority::kBatch, kTile);
  for (int i = 0; i < 2; ++i) Add(Priority::kInteractive, kTile);
  Drain(scheduler);
  EXPECT_THAT(order, ElementsAre(Priority::kInteractive, Priority::kInteractive, Priority::kBatch, Priority::kBatch));
}

TEST_F(PriorityTest, TheSameHoldsBetweenLargeAndSmallRequests) {
  Add(Priority::kBatch, 3 * kTile);
  Add(Priority::kBatch, 1);
  Add(Priority::kInteractive, 3 * kTile);
  Add(Priority::kInteractive, 1);
  for (int run = 0; run < 4; ++run) scheduler.RunOne(0);
  EXPECT_THAT(order, ElementsAre(Priority::kInteractive, Priority::kInteractive));
  Drain(scheduler);
  EXPECT_EQ(order.size(), 4u);
}

TEST_F(PriorityTest, AnInteractiveRequestWaitsForOneTileOfALargeBatchRequestAtMost) {
  Add(Priority::kBatch, 100 * kTile);
  for (int i = 0; i < 10; ++i) {
    scheduler.RunOne(0);
    TestJob& job = Add(Priority::kInteractive, 1);
    scheduler.RunOne(0);
    EXPECT_TRUE(job.done());
  }
  Drain(scheduler);
}

TEST_F(PriorityTest, PrioritiesShareNoRun) {
  Add(Priority::kBatch, 10);
  Add(Priority::kInteractive, 1);
  Drain(scheduler);
  ASSERT_EQ(plan->runs().size(), 2u) << "the interactive row does not wait for the batch rows to be computed";
  EXPECT_THAT(plan->runs()[0].rows, ElementsAre(1));
}

TEST_F(PriorityTest, BatchRequestsWaitForASecondWhileInteractiveOnesKeepTheWorkerBusy) {
  TestJob& batch = Add(Priority::kBatch, kTile);
  RunUnderLoad(absl::Milliseconds(990));
  EXPECT_FALSE(batch.done());
  RunUnderLoad(absl::Milliseconds(30));
  EXPECT_TRUE(batch.done());
  EXPECT_TRUE(batch.IsRight());
}

TEST_F(PriorityTest, BatchRequestsThatWaitForLongerGetATenthOfTheTime) {
  for (int i = 0; i < 3000; ++i) Add(Priority::kBatch, kTile);
  RunUnderLoad(absl::Seconds(1));
  EXPECT_EQ(rows_done[Priority::kBatch], 0u);
  RunUnderLoad(absl::Seconds(10));
  EXPECT_NEAR(static_cast<double>(rows_done[Priority::kBatch] / kTile), 1000, 20) << "of 10,000 runs";
}

TEST_F(PriorityTest, LargeBatchRequestsGetATenthToo) {
  TestJob& batch = Add(Priority::kBatch, 100 * kTile);
  RunUnderLoad(absl::Milliseconds(1900));
  EXPECT_FALSE(batch.done());
  RunUnderLoad(absl::Milliseconds(200));
  EXPECT_TRUE(batch.done());
  EXPECT_TRUE(batch.IsRight());
}

TEST_F(PriorityTest, WhatBatchRequestsGotWhileNobodyElseAskedIsNotHeldAgainstThem) {
  for (int i = 0; i < 3000; ++i) Add(Priority::kBatch, kTile);
  for (int run = 0; run < 500; ++run) scheduler.RunOne(0);
  EXPECT_EQ(rows_done[Priority::kBatch], 500 * kTile);
  RunUnderLoad(absl::Milliseconds(2000));
  EXPECT_NEAR(static_cast<double>(rows_done[Priority::kBatch] / kTile), 600, 5) << "a tenth of the second second";
}

TEST_F(PriorityTest, ClientsShareWhatBatchRequestsGet) {
  for (int i = 0; i < 1000; ++i) Add(Priority::kBatch, kTile, 1);
  TestJob& other = Add(Priority::kBatch, kTile, 2);
  for (int run = 0; run < 3; ++run) scheduler.RunOne(0);
  EXPECT_TRUE(other.done());
  Drain(scheduler);
}

TEST_F(PriorityTest, AnIdleWorkerTakesTheBatchRequestsThatAnotherLeavesWaiting) {
  Add(Priority::kInteractive, kTile);
  TestJob& batch = Add(Priority::kBatch, kTile);
  plan->during_run = [&] {
    plan->during_run = nullptr;
    EXPECT_TRUE(scheduler.RunOne(1));
    EXPECT_TRUE(batch.done());
  };
  EXPECT_TRUE(scheduler.RunOne(0));
  EXPECT_FALSE(scheduler.RunOne(0));
}

TEST_F(PriorityTest, AWorkerTakesInteractiveRequestsOfAnotherBeforeItsOwnBatchOnes) {
  for (int i = 0; i < 2; ++i) Add(Priority::kInteractive, kTile);
  TestJob& batch = Make(Priority::kBatch, kTile);
  ASSERT_TRUE(scheduler.Submit(1, batch).ok());
  plan->during_run = [&] {
    plan->during_run = nullptr;
    EXPECT_TRUE(scheduler.RunOne(1));
    EXPECT_TRUE(jobs[1]->done());
    EXPECT_FALSE(batch.done());
  };
  EXPECT_TRUE(scheduler.RunOne(0));
  Drain(scheduler, 1);
  EXPECT_TRUE(batch.done());
}

TEST_F(PriorityTest, DeadlinesAreJudgedByWhatGoesBefore) {
  // Runs of a tile are known to take a millisecond.
  for (int i = 0; i < 4; ++i) {
    Add(Priority::kInteractive, kTile);
    Drain(scheduler);
  }
  for (int i = 0; i < 200; ++i) Add(Priority::kBatch, kTile);
  TestJob& interactive = Make(Priority::kInteractive, kTile);
  interactive.deadline = clock.Now() + absl::Milliseconds(5);
  EXPECT_TRUE(scheduler.Submit(0, interactive).ok()) << "no batch request goes before it";
  Drain(scheduler);
  EXPECT_TRUE(interactive.status.ok());

  for (int i = 0; i < 200; ++i) Add(Priority::kInteractive, kTile);
  TestJob& batch = Make(Priority::kBatch, kTile);
  batch.deadline = clock.Now() + absl::Milliseconds(20);
  EXPECT_EQ(scheduler.Submit(0, batch).code(), absl::StatusCode::kDeadlineExceeded);
  Drain(scheduler);
}

TEST_F(PriorityTest, AClockThatIsSetBackStarvesNobody) {
  TestJob& batch = Add(Priority::kBatch, kTile);
  RunUnderLoad(absl::Milliseconds(10));
  clock.Advance(-absl::Hours(1));
  RunUnderLoad(absl::Milliseconds(1100));
  EXPECT_TRUE(batch.done());
}

}  // namespace
}  // namespace densityd::serving
