#include "server/rpc/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace densityd::rpc {
namespace {

density::v1::Calibration Make(const std::vector<double>& levels, const std::vector<double>& log_prob) {
  density::v1::Calibration calibration;
  calibration.mutable_levels()->Add(levels.begin(), levels.end());
  calibration.mutable_log_prob()->Add(log_prob.begin(), log_prob.end());
  return calibration;
}

TEST(TailProbability, IsLinearBetweenQuantiles) {
  const auto tail = TailProbability::Create(Make({0, 0.5, 1}, {-10, -4, -2}));
  ASSERT_TRUE(tail.ok()) << tail.status();
  EXPECT_DOUBLE_EQ((*tail)(-10), 0);
  EXPECT_DOUBLE_EQ((*tail)(-7), 0.25);
  EXPECT_DOUBLE_EQ((*tail)(-4), 0.5);
  EXPECT_DOUBLE_EQ((*tail)(-3), 0.75);
  EXPECT_DOUBLE_EQ((*tail)(-2), 1);
}

TEST(TailProbability, NeverDescendsAndStaysWithinZeroAndOne) {
  const auto tail = TailProbability::Create(Make({0, 0.1, 0.1, 0.7, 1}, {-5, -5, -3, -3, 2}));
  ASSERT_TRUE(tail.ok()) << tail.status();
  double before = 0;
  for (double log_prob = -8; log_prob < 5; log_prob += 0.01) {
    const double share = (*tail)(log_prob);
    EXPECT_GE(share, before) << log_prob;
    EXPECT_LE(share, 1) << log_prob;
    before = share;
  }
}

TEST(TailProbability, OfExtremeValues) {
  const auto tail = TailProbability::Create(Make({0, 1}, {-1, 1}));
  ASSERT_TRUE(tail.ok()) << tail.status();
  EXPECT_EQ((*tail)(-std::numeric_limits<double>::infinity()), 0);
  EXPECT_EQ((*tail)(std::numeric_limits<double>::infinity()), 1);
  EXPECT_TRUE(std::isnan((*tail)(std::nan(""))));
}

TEST(TailProbability, CountsAllRowsOfEqualQuantiles) {
  const auto tail = TailProbability::Create(Make({0, 0.25, 0.75, 1}, {-3, -2, -2, -1}));
  ASSERT_TRUE(tail.ok()) << tail.status();
  EXPECT_DOUBLE_EQ((*tail)(-2), 0.75);
}

TEST(TailProbability, IsNotAvailableWithoutCalibration) {
  const auto tail = TailProbability::Create({});
  ASSERT_TRUE(tail.ok()) << tail.status();
  EXPECT_FALSE(tail->available());
}

TEST(TailProbability, RefusesWhatIsNoDistribution) {
  for (const auto& calibration :
       {Make({0, 1}, {1}), Make({1, 0}, {1, 2}), Make({0, 1}, {2, 1}), Make({0, 2}, {1, 2}), Make({-1, 1}, {1, 2}),
        Make({0, 1}, {1, std::nan("")}), Make({0, 1}, {-std::numeric_limits<double>::infinity(), 0})}) {
    EXPECT_EQ(TailProbability::Create(calibration).status().code(), absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace densityd::rpc
