#include "server/serving/run_cost.h"

#include <memory>

#include "gtest/gtest.h"
#include "tests/serving/fakes.h"

namespace densityd::serving {
namespace {

const absl::Time kNow = absl::UnixEpoch() + absl::Hours(1000);

/// `cost` after a first run that does not count.
void Warm(RunCost& cost) { cost.Record(1, 1e9, kNow); }

TEST(RunCost, IsZeroUntilMeasuredAndTheFirstRunDoesNotCount) {
  RunCost cost;
  EXPECT_EQ(cost.Seconds(100, kNow), 0);
  Warm(cost);
  EXPECT_EQ(cost.Seconds(100, kNow), 0);
  EXPECT_EQ(cost.SecondsPerRow(kNow), 0);
}

TEST(RunCost, NeverEstimatesMoreThanRunsOfAffineCostTake) {
  const auto truth = [](size_t rows) { return 5e-4 + 1e-5 * static_cast<double>(rows); };
  for (const size_t measured : {1, 10, 64, 1000, 4096}) {
    RunCost cost;
    Warm(cost);
    for (int i = 0; i < 10; ++i) cost.Record(measured, truth(measured), kNow);
    for (const size_t rows : {1, 2, 30, 64, 500, 4096, 100000}) {
      EXPECT_LE(cost.Seconds(rows, kNow), truth(rows) * 1.0001) << measured << " " << rows;
    }
    EXPECT_NEAR(cost.Seconds(measured, kNow), truth(measured), 1e-4 * truth(measured));
  }
}

TEST(RunCost, SecondsPerRowAreThoseOfTheBestSize) {
  RunCost cost;
  Warm(cost);
  cost.Record(1, 1e-3, kNow);
  cost.Record(64, 2e-3, kNow);
  EXPECT_NEAR(cost.SecondsPerRow(kNow), 2e-3 / 64, 1e-9);
}

TEST(RunCost, OneSlowRunCountsLittle) {
  RunCost cost;
  Warm(cost);
  for (int i = 0; i < 20; ++i) cost.Record(64, 1e-3, kNow);
  cost.Record(64, 100, kNow);
  EXPECT_LT(cost.Seconds(64, kNow), 1.3e-3);
}

TEST(RunCost, FollowsARunTimeThatChangesForGood) {
  RunCost cost;
  Warm(cost);
  cost.Record(64, 1e-3, kNow);
  for (int i = 0; i < 60; ++i) cost.Record(64, 8e-3, kNow);
  EXPECT_NEAR(cost.Seconds(64, kNow), 8e-3, 1e-3);
  for (int i = 0; i < 30; ++i) cost.Record(64, 1e-3, kNow);
  EXPECT_NEAR(cost.Seconds(64, kNow), 1e-3, 1e-4);
}

TEST(RunCost, ForgetsWhatWasMeasuredLongAgo) {
  RunCost cost;
  Warm(cost);
  cost.Record(64, 1, kNow);
  EXPECT_GT(cost.Seconds(64, kNow + absl::Seconds(9)), 0);
  EXPECT_EQ(cost.Seconds(64, kNow + absl::Seconds(11)), 0);
}

TEST(RunCost, TakesRunsOfEverySize) {
  RunCost cost;
  Warm(cost);
  cost.Record(0, 1, kNow);
  EXPECT_EQ(cost.Seconds(1, kNow), 0);
  cost.Record(~size_t{0}, 1, kNow);
  EXPECT_GT(cost.Seconds(~size_t{0}, kNow), 0);
}

TEST(CostTable, SharesTheCostsOfAPlanWhileItLives) {
  CostTable table;
  auto plan = std::make_shared<FakePlan>(nullptr, 64);
  const auto other = std::make_shared<FakePlan>(nullptr, 64);
  const auto cost = table.Of(plan);
  EXPECT_EQ(table.Of(plan), cost);
  EXPECT_NE(table.Of(other), cost);
  plan = std::make_shared<FakePlan>(nullptr, 64);
  EXPECT_NE(table.Of(plan), cost);
}

}  // namespace
}  // namespace densityd::serving
