// One-dimensional densities with known integrals, medians and tails, and where a circle is cut.
#include "server/explain/conditional.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/explain/one_column.h"

namespace densityd::explain {
namespace {

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
  EXPECT_NEAR(answer.tail_probability, 1, 1e-9);
}

TEST(ConditionalTest, WithoutADensityThereIsNoAnswer) {
  const LogDensity1 nothing = [](double) { return -kInfinity; };
  ColumnRange categories = Range(0, 3, 1, 1);
  categories.values = std::make_shared<std::vector<double>>(std::vector<double>{0, 1, 2, 3});
  ColumnRange positive = Range(0.1, 4, 1, 1);
  positive.support_low = 0;
  ColumnRange counts = positive;
  counts.is_whole = true;
  ColumnRange circle = Range(-3, 3, 0, 1);
  circle.support_low = -M_PI;
  circle.support_high = M_PI;
  circle.is_circle = true;
  for (const ColumnRange& range : {Range(-1, 1, 0, 1), categories, positive, counts, circle}) {
    const auto [answer, evaluations] = Explain1(1, nothing, range);
    for (double number :
         {answer.surprise, answer.tail_probability, answer.median, answer.lower, answer.upper, answer.error}) {
      EXPECT_TRUE(std::isnan(number)) << number;
    }
    EXPECT_LT(evaluations, 300u);
  }
  // What cannot be is so whatever the others are.
  for (const ColumnRange& range : {categories, positive, counts, circle}) {
    const auto answer = Explain1(-4, nothing, range).answer;
    EXPECT_EQ(answer.surprise, kInfinity);
    EXPECT_EQ(answer.tail_probability, 0);
    EXPECT_TRUE(std::isnan(answer.median));
  }
  EXPECT_EQ(Explain1(0, nothing, positive).answer.surprise, kInfinity);
  EXPECT_EQ(Explain1(1.5, nothing, categories).answer.surprise, kInfinity);
}

TEST(ConditionalTest, ValueWithoutDensityIsInfinitelySurprising) {
  const LogDensity1 uniform = [](double t) { return t < 0 || t > 1 ? -kInfinity : 0.0; };
  QuadratureOptions options;
  options.noise = 1e-5;
  options.noise_per_nat = 1e-6;
  const auto answer = Explain1(3, uniform, Range(0, 1, 0.5, 0.3), options).answer;
  EXPECT_EQ(answer.surprise, kInfinity);
  EXPECT_NEAR(answer.median, 0.5, 1e-3);
  EXPECT_LT(answer.error, 2e-3);
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

TEST(ConditionalTest, NoiseIsThatOfTheDensitiesNotOfAFarValue) {
  // 45,000 nats below the peak float32 has a noise of a twentieth; the peak has none of it.
  QuadratureOptions options;
  options.noise = 1e-5;
  options.noise_per_nat = 1e-6;
  const auto answer = Explain1(300, Normal(0, 1), Range(-3, 3, 0, 1), options).answer;
  EXPECT_NEAR(answer.median, 0, 1e-4);
  EXPECT_NEAR(answer.lower, -1.6448536, 1e-3);
  EXPECT_NEAR(answer.error, 0.045, 0.005);
}

ColumnRange Circle(double low, double high) {
  ColumnRange range = Range(low, high, (low + high) / 2, (high - low) / 4);
  range.support_low = low;
  range.support_high = high;
  range.is_circle = true;
  return range;
}

TEST(ConditionalTest, ACircleIsCutOppositeToItsMean) {
  // Von Mises, in degrees of a compass. Its tail at `off` degrees from the mean, by the midpoint rule.
  const auto density = [](double mean) {
    return [mean](double t) { return t < 0 || t > 360 ? -kInfinity : 3 * std::cos((t - mean) * M_PI / 180); };
  };
  const auto tail = [&](double off) {
    double inside = 0;
    double all = 0;
    for (double t = 0.005; t < 180; t += 0.01) {
      all += std::exp(density(0)(t));
      if (t > off) inside += std::exp(density(0)(t));
    }
    return inside / all;
  };
  for (double mean : {0.0, 1.0, 90.0, 180.0, 270.0, 359.5}) {
    for (double off : {-170.0, -60.0, 0.0, 25.0, 120.0}) {
      SCOPED_TRACE(testing::Message() << "mean " << mean << ", off by " << off);
      const double value = std::fmod(mean + off + 360, 360);
      const auto [answer, evaluations] = Explain1(value, density(mean), Circle(0, 360));
      const auto apart = [&](double angle) { return std::remainder(angle - mean, 360); };
      EXPECT_NEAR(answer.tail_probability / tail(std::abs(off)), 1, 0.02);
      EXPECT_NEAR(apart(answer.median), 0, 0.05);
      EXPECT_NEAR(apart(answer.lower), -apart(answer.upper), 0.1);
      EXPECT_NEAR(tail(apart(answer.upper)), 0.1, 1e-3);
      EXPECT_LT(answer.error, 1e-3);
      EXPECT_LT(evaluations, 800u);
      for (double angle : {answer.lower, answer.median, answer.upper}) EXPECT_TRUE(angle >= 0 && angle <= 360);
    }
  }
}

// As float32 pi is larger than it is.
TEST(ConditionalTest, PiOfFloat32IsTheEndOfACircle) {
  const double pi = static_cast<float>(M_PI);
  for (double mean : {0.3, 2.0, -2.9}) {
    const LogDensity1 density = [mean](double t) { return 2 * std::cos(t - mean); };
    const auto expected = Explain1(M_PI, density, Circle(-M_PI, M_PI)).answer;
    const auto answer = Explain1(pi, density, Circle(-M_PI, M_PI)).answer;
    EXPECT_NEAR(answer.surprise, expected.surprise, 1e-6) << mean;
    EXPECT_NEAR(answer.tail_probability, expected.tail_probability, 1e-6) << mean;
    EXPECT_NEAR(answer.median, expected.median, 1e-6) << mean;
  }
  const auto nothing = Explain1(
                           pi, [](double) { return -kInfinity; }, Circle(-M_PI, M_PI))
                           .answer;
  EXPECT_TRUE(std::isnan(nothing.surprise));
}

TEST(ConditionalTest, ACircleWithoutADirectionHasAnAnswerToo) {
  const auto answer = Explain1(
                          1, [](double) { return 0.0; }, Circle(-M_PI, M_PI))
                          .answer;
  EXPECT_NEAR(answer.surprise, std::log(2 * M_PI), 1e-6);
  const double way = std::remainder(answer.upper - answer.lower, 2 * M_PI);
  EXPECT_NEAR(way < 0 ? way + 2 * M_PI : way, 0.9 * 2 * M_PI, 1e-6);
}

}  // namespace
}  // namespace densityd::explain
