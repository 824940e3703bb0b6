// The constant of Student's t against the C library's log-gamma.
#include "server/engine/train/student_norm.h"

#include <cmath>
#include <numbers>

#include "gtest/gtest.h"

namespace densityd::engine::train {
namespace {

TEST(StudentNormTest, IsTheDensityAtZero) {
  for (const double degrees : {1.0, 1.5, 2.0, 3.7, 10.0, 39.9, 40.0, 100.0, 1000.0}) {
    const double log_gammas = std::lgamma((degrees + 1) / 2) - std::lgamma(degrees / 2);
    EXPECT_NEAR(StudentNormOf(degrees).log, log_gammas - 0.5 * std::log(std::numbers::pi * degrees),
                1e-14 * std::abs(std::lgamma(degrees / 2)) + 2e-14)
        << degrees;
  }
  // Cauchy's distribution, and the normal one at the other end.
  EXPECT_NEAR(StudentNormOf(1).log, -std::log(std::numbers::pi), 1e-14);
  EXPECT_NEAR(StudentNormOf(1e12).log, -0.5 * std::log(2 * std::numbers::pi), 1e-12);
}

TEST(StudentNormTest, SlopeIsThatOfTheLog) {
  for (const double degrees : {1.0, 1.5, 2.0, 3.7, 10.0, 39.9, 60.0, 1000.0}) {
    const double step = 1e-4 * degrees;
    // By Richardson: the error falls with the fourth power.
    const auto difference = [&](double h) {
      return (StudentNormOf(degrees + h).log - StudentNormOf(degrees - h).log) / (2 * h);
    };
    const double expected = (4 * difference(step) - difference(2 * step)) / 3;
    EXPECT_NEAR(StudentNormOf(degrees).slope, expected, 1e-8 * expected + 1e-12) << degrees;
  }
}

}  // namespace
}  // namespace densityd::engine::train
