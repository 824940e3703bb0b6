#include "server/training/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace densityd::training {
namespace {

double QuantileAt(const density::v1::Calibration& calibration, double level) {
  for (int i = 0; i < calibration.levels_size(); ++i) {
    if (calibration.levels(i) == level) return calibration.log_prob(i);
  }
  ADD_FAILURE() << "no level " << level;
  return 0;
}

TEST(CalibrationTest, QuantilesAreLinearBetweenOrderStatistics) {
  const density::v1::Calibration calibration = Calibrate({30, 10, 20, 40, 0});
  EXPECT_EQ(calibration.rows(), 5);
  EXPECT_EQ(QuantileAt(calibration, 0), 0);
  EXPECT_EQ(QuantileAt(calibration, 0.5), 20);
  EXPECT_NEAR(QuantileAt(calibration, 0.1), 4, 1e-12);
  EXPECT_EQ(QuantileAt(calibration, 1), 40);
}

TEST(CalibrationTest, LevelsAndQuantilesAscendAndCoverTheLowerTail) {
  std::vector<double> log_prob;
  for (int i = 0; i < 20'000; ++i) log_prob.push_back(-((i * 7919) % 20'000) * 1e-3);
  const density::v1::Calibration calibration = Calibrate(log_prob);
  EXPECT_TRUE(std::is_sorted(calibration.levels().begin(), calibration.levels().end()));
  EXPECT_TRUE(std::is_sorted(calibration.log_prob().begin(), calibration.log_prob().end()));
  EXPECT_NEAR(QuantileAt(calibration, 1e-3), -19.98, 0.01);
  EXPECT_GE(std::count_if(calibration.levels().begin(), calibration.levels().end(), [](double l) { return l <= 0.01; }),
            6);
}

TEST(CalibrationTest, OneRowIsEveryQuantile) {
  const density::v1::Calibration calibration = Calibrate({-3});
  EXPECT_EQ(QuantileAt(calibration, 0), -3);
  EXPECT_EQ(QuantileAt(calibration, 1), -3);
}

TEST(EstimateMeanTest, IsTheMeanAndItsStandardError) {
  const MeanEstimate estimate = EstimateMean({1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(estimate.mean, 2.5);
  EXPECT_NEAR(estimate.standard_error, 0.6454972243679028, 1e-12);  // sqrt(5 / 3 / 4)
  EXPECT_EQ(EstimateMean({7}).standard_error, 0);
}

}  // namespace
}  // namespace densityd::training
