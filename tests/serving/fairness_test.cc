// Whose rows are computed next.
#include <map>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/serving/scheduler.h"
#include "tests/serving/fakes.h"

namespace densityd::serving {
namespace {

using engine::Op;
using testing::ElementsAre;

constexpr size_t kTile = 64;

class FairnessTest : public testing::Test {
 protected:
  TestJob& Add(uint64_t client, size_t rows, absl::Duration left = absl::InfiniteDuration(), Op op = Op::kLogProb) {
    jobs.push_back(std::make_unique<TestJob>(plan, rows, op));
    TestJob& job = *jobs.back();
    job.client = client;
    job.deadline = clock.Now() + left;
    job.on_done = [this, client, rows] {
      order.push_back(client);
      rows_done[client] += rows;
    };
    const absl::Status status = scheduler.Submit(0, job);
    EXPECT_TRUE(status.ok()) << status;
    return job;
  }

  FakeClock clock;
  std::shared_ptr<FakePlan> plan = std::make_shared<FakePlan>(&clock, kTile);
  std::vector<std::unique_ptr<TestJob>> jobs;
  std::vector<uint64_t> order;  ///< clients of jobs as they were done
  std::map<uint64_t, size_t> rows_done;
  Scheduler scheduler{{.workers = 1}, clock, nullptr, nullptr};
};

TEST_F(FairnessTest, ARunIsSharedEquallyByTheClientsThatWait) {
  for (int i = 0; i < 1000; ++i) Add(1, 1);
  for (int i = 0; i < 500; ++i) Add(2, 1);
  scheduler.RunOne(0);
  EXPECT_EQ(rows_done[1], kTile / 2);
  EXPECT_EQ(rows_done[2], kTile / 2);
  Drain(scheduler);
}

TEST_F(FairnessTest, SharesAreOfRowsNotOfRequests) {
  for (int i = 0; i < 200; ++i) Add(1, 16);
  for (int i = 0; i < 3200; ++i) Add(2, 1);
  for (int run = 0; run < 20; ++run) scheduler.RunOne(0);
  EXPECT_NEAR(static_cast<double>(rows_done[1]), 640, 16);
  EXPECT_NEAR(static_cast<double>(rows_done[2]), 640, 16);
  Drain(scheduler);
}

TEST_F(FairnessTest, WhoAsksForLittleIsServedAtOnce) {
  for (int i = 0; i < 1000; ++i) Add(1, 1);
  for (int run = 0; run < 5; ++run) scheduler.RunOne(0);
  TestJob& late = Add(2, 1);
  scheduler.RunOne(0);
  EXPECT_TRUE(late.done());
  Drain(scheduler);
}

TEST_F(FairnessTest, WhoHasAlwaysOneRequestDoesNotStarveWhoHasMany) {
  for (int i = 0; i < 3 * static_cast<int>(kTile); ++i) Add(1, kTile / 2);
  // A new request of each small client as soon as it was answered.
  for (int run = 0; run < 100; ++run) {
    for (uint64_t client = 2; client < 6; ++client) Add(client, kTile / 2);
    for (int i = 0; i < 2; ++i) scheduler.RunOne(0);
  }
  EXPECT_GE(rows_done[1], 100 * kTile / 5) << "a fifth of the rows";
  Drain(scheduler);
}

TEST_F(FairnessTest, ManyClientsThatComeAndGoAreForgotten) {
  for (uint64_t client = 0; client < 100'000; ++client) {
    Add(client, 1);
    if (client % 100 == 99) Drain(scheduler);
    if (client % 1000 == 999) jobs.clear();
  }
  Drain(scheduler);
  EXPECT_EQ(order.size(), 100'000u);
}

TEST_F(FairnessTest, TheMoreUrgentOfAClientsRequestsGoesFirst) {
  TestJob& last = Add(1, kTile);
  TestJob& second = Add(1, kTile, absl::Milliseconds(300));
  TestJob& first = Add(1, kTile, absl::Milliseconds(100));
  scheduler.RunOne(0);
  EXPECT_TRUE(first.done());
  scheduler.RunOne(0);
  EXPECT_TRUE(second.done());
  scheduler.RunOne(0);
  EXPECT_TRUE(last.done());
}

TEST_F(FairnessTest, BetweenClientsThatGotTheSameTheMoreUrgentGoesFirst) {
  Add(1, kTile, absl::Milliseconds(500));
  Add(2, kTile, absl::Milliseconds(100));
  Add(3, kTile, absl::Milliseconds(300));
  Drain(scheduler);
  EXPECT_THAT(order, ElementsAre(2, 3, 1));
}

TEST_F(FairnessTest, LargeRequestsOfOneClientDoNotHoldUpThoseOfAnother) {
  plan->row_time = absl::Microseconds(1);
  for (int i = 0; i < 5; ++i) Add(1, 100 * kTile);
  TestJob& late = Add(2, 3 * kTile);
  for (int run = 0; run < 7; ++run) scheduler.RunOne(0);
  EXPECT_TRUE(late.done());
  Drain(scheduler);
}

TEST_F(FairnessTest, OpsOfAModelGetEqualTime) {
  plan->run_time = absl::Milliseconds(1);
  for (int i = 0; i < 100; ++i) Add(1, kTile, absl::Milliseconds(900));
  for (int i = 0; i < 3; ++i) Add(1, kTile, absl::InfiniteDuration(), Op::kInverse);
  for (int run = 0; run < 6; ++run) scheduler.RunOne(0);
  size_t inverse = 0;
  for (const auto& run : plan->runs()) inverse += run.op == Op::kInverse ? 1 : 0;
  EXPECT_EQ(inverse, 3u);
  Drain(scheduler);
}

}  // namespace
}  // namespace densityd::serving
