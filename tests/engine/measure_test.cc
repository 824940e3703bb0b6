// What is known about the time of runs before the server has measured any.
#include "server/engine/measure.h"

#include <array>
#include <cstddef>
#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "server/base/errors.h"

namespace densityd::engine {
namespace {

/// A plan on a clock of its own: a run takes `fixed` seconds and `per_row` more for each row and unit of work.
class TimedPlan final : public Plan {
 public:
  TimedPlan() {
    info_.features = 2;
    info_.context_features = 1;
    info_.tile_rows = 512;
    info_.scores = true;
  }
  void set_scores(bool scores) { info_.scores = scores; }
  void RunEveryOp() {
    info_.has_chain_order = true;
    info_.is_estimate = true;
  }

  const PlanInfo& info() const override { return info_; }
  PlanDescription Describe(Op op) const override {
    LayerDescription layer;
    layer.multiply_adds = work[static_cast<size_t>(op)];
    return {{layer}};
  }
  absl::Status Run(Op op, absl::Span<const RowSpan> spans, Workspace& /*workspace*/) const override {
    if (runs_until_failure-- == 0) return InternalError("the device is gone");
    const double seconds = fixed + per_row * static_cast<double>(spans.front().rows);
    now += seconds * static_cast<double>(work[static_cast<size_t>(op)]);
    ++runs;
    return absl::OkStatus();
  }

  double fixed = 0;
  double per_row = 0;
  std::array<uint64_t, kOpCount> work = {1, 1, 1, 1, 1, 1, 1};
  mutable int runs_until_failure = -1;
  mutable int runs = 0;
  mutable double now = 0;

 private:
  PlanInfo info_;
};

void Measure(TimedPlan& plan, absl::Duration budget) {
  MeasureRunTimes(plan, budget, [&plan] { return plan.now; });
}

TEST(RunTimeTest, NothingIsKnownWithoutMeasurements) {
  EXPECT_EQ(RunTime().Seconds(1), 0);
  EXPECT_EQ(RunTime().SecondsPerRow(), 0);
}

TEST(RunTimeTest, LinesJoinThePointsAndLargerRunsCostAtLeastTheLast) {
  const RunTime time({{1, 1.0}, {11, 2.0}, {21, 6.0}});
  EXPECT_EQ(time.Seconds(0), 1.0);
  EXPECT_EQ(time.Seconds(1), 1.0);
  EXPECT_DOUBLE_EQ(time.Seconds(6), 1.5);
  EXPECT_DOUBLE_EQ(time.Seconds(16), 4.0);
  EXPECT_EQ(time.Seconds(21), 6.0);
  EXPECT_EQ(time.Seconds(1000), 6.0);
  EXPECT_DOUBLE_EQ(time.SecondsPerRow(), 6.0 / 21);
}

TEST(MeasureTest, EveryOperationIsMeasuredWhereThereIsTime) {
  TimedPlan plan;
  plan.RunEveryOp();
  plan.fixed = 1e-5;
  plan.per_row = 1e-6;
  plan.work = {1, 1, 2, 2, 3, 4, 8};
  Measure(plan, absl::Seconds(1));
  for (int op = 0; op < kOpCount; ++op) {
    const double work = static_cast<double>(plan.work[op]);
    const RunTime& time = plan.run_time(static_cast<Op>(op));
    ASSERT_EQ(time.points().size(), 4u);
    EXPECT_NEAR(time.Seconds(1), work * 1.1e-5, 1e-9);
    EXPECT_NEAR(time.Seconds(512), work * 5.22e-4, 1e-9);
    EXPECT_NEAR(time.Seconds(100), work * 1.1e-4, 1e-9) << "a straight line is met anywhere";
  }
}

TEST(MeasureTest, TheBudgetIsKeptAndTheRestIsDerivedFromTheWork) {
  TimedPlan plan;
  plan.per_row = 1e-3;
  plan.work = {1, 1, 784, 784, 2};  // a sequential direction: 0.78 s for a row
  Measure(plan, absl::Milliseconds(100));
  EXPECT_LE(plan.now, 0.1);
  EXPECT_NEAR(plan.run_time(Op::kLogProb).Seconds(1), 1e-3, 1e-9);
  EXPECT_NEAR(plan.run_time(Op::kSample).Seconds(1), 0.784, 1e-6);
}

TEST(MeasureTest, OnlyOneRowOfTheCheapestOperationMayGoBeyondTheBudget) {
  TimedPlan plan;
  plan.fixed = 10;
  plan.work = {3, 3, 1, 1, 6};
  Measure(plan, absl::Milliseconds(25));
  EXPECT_EQ(plan.runs, 1);
  EXPECT_DOUBLE_EQ(plan.run_time(Op::kForward).Seconds(512), 10);
  EXPECT_DOUBLE_EQ(plan.run_time(Op::kLogProb).Seconds(512), 30);
}

TEST(MeasureTest, WhatAPlanDoesNotRunIsNotMeasured) {
  TimedPlan plan;
  plan.fixed = 1e-5;
  plan.set_scores(false);
  plan.work = {2, 2, 2, 2, 0};
  Measure(plan, absl::Seconds(1));
  EXPECT_TRUE(plan.run_time(Op::kScore).points().empty());
  EXPECT_EQ(plan.run_time(Op::kSample).points().size(), 4u);
}

TEST(MeasureTest, APlanThatFailsIsNotMeasured) {
  TimedPlan plan;
  plan.runs_until_failure = 0;
  Measure(plan, absl::Seconds(1));
  for (int op = 0; op < kOpCount; ++op) EXPECT_TRUE(plan.run_time(static_cast<Op>(op)).points().empty());
}

}  // namespace
}  // namespace densityd::engine
