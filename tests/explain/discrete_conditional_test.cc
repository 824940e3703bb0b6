// Columns of given values and of integers: sums that are known.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "server/explain/conditional.h"
#include "tests/explain/one_column.h"

namespace densityd::explain {
namespace {

// The definition: sums over integers from `low` to `high`.
ColumnAnswer Summed(double value, const LogDensity1& log_density, int low, int high) {
  double mass = 0;
  double left = 0;
  double right = 0;
  for (int k = low; k <= high; ++k) {
    const double density = std::exp(log_density(k));
    mass += density;
    if (k <= value) left += density;
    if (k >= value) right += density;
  }
  const auto quantile = [&](double share) {
    double rest = share * mass;
    for (int k = low; k <= high; ++k) {
      rest -= std::exp(log_density(k));
      if (rest <= 0) return k;
    }
    return high;
  };
  ColumnAnswer answer;
  answer.surprise = std::log(mass) - log_density(value);
  answer.tail_probability = std::min(1.0, 2 * std::min(left, right) / mass);
  answer.median = quantile(0.5);
  answer.lower = quantile(0.05);
  answer.upper = quantile(0.95);
  return answer;
}

// Quantiles are integers, up to `off` ones away from the true ones.
void ExpectSame(const ColumnAnswer& answer, const ColumnAnswer& truth, double off = 0) {
  EXPECT_NEAR(answer.surprise, truth.surprise, 1e-3);
  EXPECT_NEAR(answer.tail_probability / truth.tail_probability, 1, 0.02);
  EXPECT_NEAR(answer.median, truth.median, off);
  EXPECT_NEAR(answer.lower, truth.lower, off);
  EXPECT_NEAR(answer.upper, truth.upper, off);
  for (double quantile : {answer.median, answer.lower, answer.upper}) EXPECT_EQ(quantile, std::round(quantile));
}

LogDensity1 Poisson(double rate) {
  return [=](double k) { return k < -0.5 ? -kInfinity : k * std::log(rate) - rate - std::lgamma(k + 1); };
}

TEST(DiscreteConditionalTest, AColumnOfValuesIsSummedOver) {
  // Probabilities 0.1, 0.2, 0.3 and 0.4 of the values -1, 2, 3 and 7, times e^5, which the other columns account for.
  const std::vector<double> values = {-1, 2, 3, 7};
  const LogDensity1 density = [&](double t) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] == t) return 5 + std::log(0.1 * static_cast<double>(i + 1));
    }
    return -kInfinity;
  };
  ColumnRange range = Range(-1, 7, 3, 2);
  range.values = std::make_shared<std::vector<double>>(values);
  const auto [answer, evaluations] = Explain1(2, density, range);
  EXPECT_EQ(evaluations, 4u);
  EXPECT_NEAR(answer.surprise, -std::log(0.2), 1e-12);
  EXPECT_NEAR(answer.tail_probability, 2 * 0.3, 1e-12);
  EXPECT_EQ(answer.median, 3);
  EXPECT_EQ(answer.lower, -1);
  EXPECT_EQ(answer.upper, 7);
  EXPECT_EQ(answer.error, 0);
  EXPECT_EQ(Explain1(7, density, range).answer.tail_probability, 0.8);
  const ColumnAnswer unknown = Explain1(4, density, range).answer;
  EXPECT_EQ(unknown.surprise, kInfinity);
  EXPECT_EQ(unknown.tail_probability, 0);
  EXPECT_EQ(unknown.median, 3);
}

TEST(DiscreteConditionalTest, CategoriesAreComparedAsFloat32) {
  ColumnRange range = Range(0.1, 0.3, 0.2, 0.1);
  range.values = std::make_shared<std::vector<double>>(std::vector<double>{0.1, 0.2, 0.3});
  const auto answer = Explain1(
                          0.3F, [](double) { return 0.0; }, range)
                          .answer;
  EXPECT_NEAR(answer.tail_probability, 2.0 / 3, 1e-12);
}

TEST(DiscreteConditionalTest, CountsAreSummedOverUpwards) {
  for (double rate : {0.05, 0.6, 3.0, 40.0, 700.0}) {
    ColumnRange range = Range(0, rate + 3 * std::sqrt(rate), rate, std::sqrt(rate));
    range.is_whole = true;
    range.support_low = -0.5;
    for (double value : {0.0, 1.0, 2.0, std::round(rate), std::ceil(rate + 7 * std::sqrt(rate))}) {
      SCOPED_TRACE(testing::Message() << "rate " << rate << ", value " << value);
      const auto [answer, evaluations] = Explain1(value, Poisson(rate), range);
      ExpectSame(answer, Summed(value, Poisson(rate), 0, 20000));
      EXPECT_LT(answer.error, 1e-3);
      EXPECT_LT(evaluations, 1500u);
    }
    EXPECT_EQ(Explain1(-1, Poisson(rate), range).answer.surprise, kInfinity);
    EXPECT_EQ(Explain1(-1, Poisson(rate), range).answer.tail_probability, 0);
    EXPECT_EQ(Explain1(-1, Poisson(rate), range).answer.median, Explain1(0, Poisson(rate), range).answer.median);
  }
}

TEST(DiscreteConditionalTest, IntegersWithoutBoundsAreSummedOverOnBothSides) {
  for (double stddev : {0.2, 0.7, 5.0, 100.0, 4000.0}) {
    ColumnRange range = Range(-3 * stddev, 3 * stddev, 0, stddev);
    range.is_whole = true;
    const LogDensity1 density = Normal(0.3, stddev);
    for (double z : {0.0, 1.0, -2.5, 6.0}) {
      const double value = std::round(z * stddev);
      SCOPED_TRACE(testing::Message() << "deviation " << stddev << ", value " << value);
      const auto [answer, evaluations] = Explain1(value, density, range);
      ExpectSame(answer, Summed(value, density, -60000, 60000), std::floor(stddev / 1000));
      EXPECT_LT(answer.error, 1e-3);
      EXPECT_LT(evaluations, 1500u);
    }
  }
}

TEST(DiscreteConditionalTest, IntegersWithinBoundsAreSummedOver) {
  // A slope up to its wall: 0 … 7, and 0 … 5000.
  for (int high : {7, 5000}) {
    ColumnRange range = Range(0, high, 0.6 * high, 0.3 * high);
    range.is_whole = true;
    range.support_low = -0.5;
    range.support_high = high + 0.5;
    const LogDensity1 slope = [=](double t) {
      return t < -0.5 || t > high + 0.5 ? -kInfinity : std::log(1 + 10 * t / high);
    };
    for (double value : {0.0, 3.0, static_cast<double>(high)}) {
      SCOPED_TRACE(testing::Message() << "up to " << high << ", value " << value);
      ExpectSame(Explain1(value, slope, range).answer, Summed(value, slope, 0, high), high / 1000);
    }
  }
}

TEST(DiscreteConditionalTest, AFewIntegersAmongManyAreFound) {
  // The others leave a handful of integers of a column that spreads over a million.
  ColumnRange range = Range(0, 4e6, 2e6, 1e6);
  range.is_whole = true;
  const LogDensity1 density = Normal(1999990.2, 0.8);
  const ColumnAnswer answer = Explain1(1999988, density, range).answer;
  ExpectSame(answer, Summed(1999988, density, 1999900, 2000100));
}

TEST(DiscreteConditionalTest, HeavyTailsOfIntegersAreFollowedOutwards) {
  // 1 / k^2, whose sum is pi^2 / 6.
  ColumnRange range = Range(1, 50, 3, 5);
  range.is_whole = true;
  range.support_low = 0.5;
  const LogDensity1 zeta = [](double k) { return k < 0.5 ? -kInfinity : -2 * std::log(k); };
  const auto answer = Explain1(1, zeta, range).answer;
  EXPECT_NEAR(answer.surprise, std::log(M_PI * M_PI / 6), 2e-3);
  EXPECT_EQ(answer.median, 1);
  EXPECT_EQ(answer.upper, Summed(1, zeta, 1, 10000000).upper);
  EXPECT_EQ(answer.tail_probability, 1);
}

TEST(DiscreteConditionalTest, BetweenTwoIntegersThereIsNoMass) {
  ColumnRange range = Range(0, 3, 1, 1);
  range.is_whole = true;
  range.support_low = -0.5;
  for (double value : {1.5, 1.25, 1.75}) {
    ExpectSame(Explain1(value, Poisson(1), range).answer, Summed(value, Poisson(1), 0, 100));
  }
}

}  // namespace
}  // namespace densityd::explain
