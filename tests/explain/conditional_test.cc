// One-dimensional densities with known integrals, medians and tails.
#include "server/explain/conditional.h"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::explain {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kLogSqrt2Pi = 0.5 * std::log(2 * M_PI);

using LogDensity1 = std::function<double(double)>;

struct Run {
  ColumnAnswer answer;
  size_t evaluations = 0;
};

Run Explain1(double value, const LogDensity1& log_density, const ColumnRange& range,
             const QuadratureOptions& options = {}) {
  Conditional conditional(value, log_density(value), range, options);
  Run run;
  std::vector<double> nodes;
  while (true) {
    nodes.clear();
    conditional.Want(nodes);
    if (nodes.empty()) break;
    run.evaluations += nodes.size();
    for (double& node : nodes) node = log_density(node);
    conditional.Take(nodes);
  }
  run.answer = conditional.Answer();
  return run;
}

LogDensity1 Normal(double mean, double stddev) {
  return [=](double t) {
    const double z = (t - mean) / stddev;
    return -0.5 * z * z - kLogSqrt2Pi - std::log(stddev);
  };
}

double TwoSided(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

ColumnRange Range(double min, double max, double center, double spread) {
  ColumnRange range;
  range.min = min;
  range.max = max;
  range.center = center;
  range.spread = spread;
  return range;
}

TEST(ConditionalTest, AColumnOfValuesIsSummedOver) {
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
  EXPECT_EQ(unknown.median, 3);
}

TEST(ConditionalTest, NormalAgreesWithItsClosedForm) {
  for (double z : {0.0, 0.3, -1.0, 2.5, -4.0}) {
    const auto [answer, evaluations] = Explain1(3 + 2 * z, Normal(3, 2), Range(-4, 10, 3, 2));
    EXPECT_NEAR(answer.surprise, 0.5 * z * z + kLogSqrt2Pi + std::log(2.0), 1e-3) << z;
    EXPECT_NEAR(answer.tail_probability / TwoSided(z), 1, 0.01) << z;
    EXPECT_NEAR(answer.median, 3, 1e-3) << z;
    EXPECT_NEAR(answer.lower, 3 - 2 * 1.6448536, 2e-3) << z;
    EXPECT_NEAR(answer.upper, 3 + 2 * 1.6448536, 2e-3) << z;
    EXPECT_LT(answer.error, 1e-3) << z;
    EXPECT_LT(evaluations, 600u) << z;
  }
}

TEST(ConditionalTest, ConstantFactorsOfTheDensityCancel) {
  const auto plain = Explain1(0.5, Normal(0, 1), Range(-3, 3, 0, 1)).answer;
  const auto shifted = Explain1(
                           0.5, [](double t) { return Normal(0, 1)(t) - 900; }, Range(-3, 3, 0, 1))
                           .answer;
  EXPECT_NEAR(plain.surprise, shifted.surprise, 1e-9);
  EXPECT_NEAR(plain.median, shifted.median, 1e-9);
}

TEST(ConditionalTest, NarrowPeaksAreFound) {
  // The others leave the column one part in 10,000 of its usual spread, away from the value in question.
  const auto answer = Explain1(1.0, Normal(0.123, 1e-4), Range(-3, 3, 0, 1)).answer;
  EXPECT_NEAR(answer.median, 0.123, 1e-6);
  EXPECT_NEAR(answer.lower, 0.123 - 1.6448536e-4, 1e-6);
  EXPECT_GT(answer.surprise, 1e7);
}

TEST(ConditionalTest, PeakAtTheValueOnABroadBaseIsFound) {
  // Three quarters of the mass lie within 1e-5 of the value, where no first node is.
  const LogDensity1 mixture = [](double t) {
    return std::log(0.75 * std::exp(Normal(0.7, 1e-6)(t)) + 0.25 * std::exp(Normal(0, 1)(t)));
  };
  const auto answer = Explain1(0.7, mixture, Range(-3, 3, 0, 1)).answer;
  EXPECT_NEAR(answer.surprise, -std::log(0.75) + kLogSqrt2Pi + std::log(1e-6), 2e-3);
  EXPECT_NEAR(answer.median, 0.7, 1e-5);
}

TEST(ConditionalTest, FarValuesHaveTheirTinyTail) {
  const auto answer = Explain1(10, Normal(0, 1), Range(-3, 3, 0, 1)).answer;
  EXPECT_NEAR(answer.tail_probability / TwoSided(10), 1, 0.03);
  EXPECT_NEAR(answer.surprise, 50 + kLogSqrt2Pi, 1e-3);
}

TEST(ConditionalTest, TwoPeaksAreIntegratedTogether) {
  const LogDensity1 mixture = [](double t) {
    return std::log(0.3 * std::exp(Normal(-2, 0.1)(t)) + 0.7 * std::exp(Normal(2, 0.3)(t)));
  };
  const auto answer = Explain1(-2, mixture, Range(-2.5, 3, 0.8, 1.9)).answer;
  EXPECT_NEAR(answer.surprise, -std::log(0.3) + kLogSqrt2Pi + std::log(0.1), 2e-3);
  EXPECT_NEAR(answer.tail_probability, 0.3, 2e-3);
  // Quantile 0.5 of the mixture is quantile 2/7 of the second peak.
  EXPECT_NEAR(answer.median, 2 - 0.3 * 0.5659488, 2e-3);
}

TEST(ConditionalTest, HeavyTailsAreFollowedOutwards) {
  const LogDensity1 cauchy = [](double t) { return -std::log(M_PI) - std::log1p(t * t); };
  const auto answer = Explain1(0, cauchy, Range(-3, 3, 0, 1)).answer;
  EXPECT_NEAR(answer.surprise, std::log(M_PI), 2e-3);
  EXPECT_NEAR(answer.upper, std::tan(M_PI * 0.45), 0.03);
}

TEST(ConditionalTest, BoundedSupportIsRespected) {
  ColumnRange range = Range(0.1, 4, 1, 1);
  range.support_low = 0;
  std::vector<double> asked;
  const LogDensity1 exponential = [&](double t) {
    asked.push_back(t);
    return -t;
  };
  const auto answer = Explain1(0.2, exponential, range).answer;
  EXPECT_NEAR(answer.surprise, 0.2, 1e-3);
  EXPECT_NEAR(answer.median, std::log(2.0), 1e-3);
  EXPECT_NEAR(answer.tail_probability, 2 * (1 - std::exp(-0.2)), 2e-3);
  for (double t : asked) EXPECT_GE(t, 0);
}

TEST(ConditionalTest, SupportNarrowerThanTheSpreadIsOnePanel) {
  ColumnRange range = Range(0, 1, 0, 1e6);
  range.support_low = 0;
  range.support_high = 1;
  const auto answer = Explain1(
                          0.5, [](double) { return 0.0; }, range)
                          .answer;
  EXPECT_NEAR(answer.surprise, 0, 1e-9);
  EXPECT_NEAR(answer.lower, 0.05, 1e-9);
}

TEST(ConditionalTest, ValueWithoutDensityIsInfinitelySurprising) {
  const LogDensity1 uniform = [](double t) { return t < 0 || t > 1 ? -kInfinity : 0.0; };
  const auto answer = Explain1(3, uniform, Range(0, 1, 0.5, 0.3)).answer;
  EXPECT_EQ(answer.surprise, kInfinity);
  EXPECT_NEAR(answer.median, 0.5, 5e-3);
  EXPECT_EQ(answer.tail_probability, 0);
}

TEST(ConditionalTest, NoiseOfTheDensityDoesNotExhaustTheNodes) {
  uint64_t state = 1;
  const LogDensity1 noisy = [&](double t) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return Normal(0, 1)(t) + 1e-3 * (static_cast<double>(state >> 11) / 9007199254740992.0 - 0.5);
  };
  QuadratureOptions options;
  options.noise = 1e-3;
  options.tolerance = 4e-3;
  const auto [answer, evaluations] = Explain1(1, noisy, Range(-3, 3, 0, 1), options);
  EXPECT_NEAR(answer.surprise, 0.5 + kLogSqrt2Pi, 5e-3);
  EXPECT_LT(evaluations, 800u);
}

TEST(ConditionalTest, NodesAreBoundedAndTheErrorSaysSo) {
  // A comb that no 1000 points resolve.
  const LogDensity1 comb = [](double t) { return std::sin(1e6 * t) > 0.999 ? 0.0 : -20.0; };
  QuadratureOptions options;
  options.max_nodes = 1000;
  const auto [answer, evaluations] = Explain1(0, comb, Range(-3, 3, 0, 1), options);
  EXPECT_LT(evaluations, 3000u);
  EXPECT_GT(answer.error, 0.01);
}

}  // namespace
}  // namespace densityd::explain
