// A plan that is made when it is first needed.
#include "server/engine/lazy_plan.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/errors.h"

namespace densityd::engine {
namespace {

using ::testing::HasSubstr;

class CountingPlan final : public Plan {
 public:
  explicit CountingPlan(std::atomic<int>& runs) : runs_(runs) {}
  const PlanInfo& info() const override { return info_; }
  PlanDescription Describe(Op /*op*/) const override { return {{LayerDescription()}}; }
  absl::Status Run(Op, absl::Span<const RowSpan>, Workspace&) const override {
    ++runs_;
    return absl::OkStatus();
  }

 private:
  std::atomic<int>& runs_;
  PlanInfo info_;
};

class LazyPlanTest : public ::testing::Test {
 protected:
  LazyPlan::Make Maker() {
    return [this]() -> absl::StatusOr<std::unique_ptr<Plan>> {
      ++made_;
      if (held_) release_.WaitForNotification();
      if (fails_) return ResourceExhausted("memory", "does not fit");
      return std::make_unique<CountingPlan>(runs_);
    };
  }

  static PlanInfo Info() {
    PlanInfo info;
    info.bytes = 1000;
    info.precision = NumberType::kFloat64;
    return info;
  }

  absl::Status Run(const LazyPlan& plan) {
    Workspace workspace;
    const RowSpan span;
    return plan.Run(Op::kLogProb, {&span, 1}, workspace);
  }

  std::atomic<int> made_{0};
  std::atomic<int> runs_{0};
  std::atomic<bool> fails_{false};
  std::atomic<bool> held_{false};
  absl::Notification release_;
};

TEST_F(LazyPlanTest, NothingIsMadeUntilItIsNeeded) {
  const LazyPlan plan(Info(), Maker());
  EXPECT_EQ(plan.info().bytes, 1000u) << "its room is kept";
  EXPECT_TRUE(plan.Describe(Op::kLogProb).layers.empty());
  EXPECT_EQ(made_, 0);
}

TEST_F(LazyPlanTest, ItIsMadeOnceForAllWhoNeedIt) {
  const LazyPlan plan(Info(), Maker(), absl::InfiniteDuration());
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_TRUE(Run(plan).ok()); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made_, 1);
  EXPECT_EQ(runs_, 8);
  EXPECT_EQ(plan.Describe(Op::kLogProb).layers.size(), 1u);
}

TEST_F(LazyPlanTest, ARunWaitsNoLongerThanItsPatience) {
  held_ = true;
  const LazyPlan plan(Info(), Maker(), absl::ZeroDuration());
  const absl::Status refused = Run(plan);
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("float64"));
  release_.Notify();
  ASSERT_TRUE(plan.Await().ok());
  EXPECT_TRUE(Run(plan).ok());
  EXPECT_EQ(made_, 1);
}

TEST_F(LazyPlanTest, AFailureIsToldAndTheNextCallTriesAgain) {
  fails_ = true;
  const LazyPlan plan(Info(), Maker(), absl::InfiniteDuration());
  EXPECT_TRUE(absl::IsResourceExhausted(Run(plan)));
  EXPECT_TRUE(absl::IsResourceExhausted(plan.Await().status()));
  fails_ = false;
  EXPECT_TRUE(Run(plan).ok());
  EXPECT_EQ(made_, 3);
}

TEST_F(LazyPlanTest, ItMayBeDestroyedWhileItIsMade) {
  held_ = true;
  auto plan = std::make_unique<LazyPlan>(Info(), Maker(), absl::ZeroDuration());
  EXPECT_TRUE(absl::IsUnavailable(Run(*plan)));
  std::thread destroyer([&] { plan.reset(); });
  release_.Notify();
  destroyer.join();
}

}  // namespace
}  // namespace densityd::engine
