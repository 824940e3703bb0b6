// Multivariate normals, whose conditionals are known.
#include "server/explain/explainer.h"

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::explain {
namespace {

constexpr size_t kFeatures = 3;
// Precision matrix (inverse covariance) and mean of a normal with strong correlations.
constexpr std::array<std::array<double, 3>, 3> kPrecision = {{{4, -1.5, 0.5}, {-1.5, 2, -0.7}, {0.5, -0.7, 1}}};
constexpr std::array<double, 3> kMean = {10, -2, 0.5};

double NormalLogDensity(absl::Span<const double> x) {
  double square = 0;
  for (size_t i = 0; i < kFeatures; ++i) {
    for (size_t j = 0; j < kFeatures; ++j) square += (x[i] - kMean[i]) * kPrecision[i][j] * (x[j] - kMean[j]);
  }
  return -0.5 * square;
}

// Mean of column j given the others; its variance is 1 / kPrecision[j][j].
double ConditionalMean(absl::Span<const double> x, size_t j) {
  double sum = 0;
  for (size_t k = 0; k < kFeatures; ++k) {
    if (k != j) sum += kPrecision[j][k] * (x[k] - kMean[k]);
  }
  return kMean[j] - sum / kPrecision[j][j];
}

std::vector<double> NormalDensity(const Explainer& explainer) {
  EXPECT_EQ(explainer.points().size(), kFeatures * explainer.origin().size());
  std::vector<double> log_prob;
  for (size_t i = 0; i < explainer.origin().size(); ++i) {
    log_prob.push_back(NormalLogDensity(explainer.points().subspan(i * kFeatures, kFeatures)));
  }
  return log_prob;
}

void ExpectNoAnswer(const ColumnAnswer& answer) {
  for (double number :
       {answer.surprise, answer.tail_probability, answer.median, answer.lower, answer.upper, answer.error}) {
    EXPECT_TRUE(std::isnan(number)) << number;
  }
}

void RunToEnd(Explainer& explainer) {
  while (!explainer.is_done()) explainer.Take(NormalDensity(explainer));
}

std::vector<ColumnRange> Ranges() {
  std::vector<ColumnRange> ranges(kFeatures);
  for (size_t j = 0; j < kFeatures; ++j) {
    ranges[j].center = kMean[j];
    ranges[j].spread = 1.5;
    ranges[j].min = kMean[j] - 4;
    ranges[j].max = kMean[j] + 4;
  }
  return ranges;
}

const std::vector<double> kRows = {10, -2, 0.5, 11, -1, 2, 7, -2, 0, 10.2, -2.4, -1.1};

const std::vector<uint32_t> kAll = {0, 1, 2};

TEST(ExplainerTest, MultivariateNormalAgreesWithItsConditionals) {
  Explainer explainer(kRows, kFeatures, kAll, Ranges(), {});
  RunToEnd(explainer);
  ASSERT_EQ(explainer.answers().size(), 12u);
  for (size_t row = 0; row < 4; ++row) {
    const absl::Span<const double> x(&kRows[row * kFeatures], kFeatures);
    EXPECT_EQ(explainer.log_prob()[row], NormalLogDensity(x));
    for (size_t j = 0; j < kFeatures; ++j) {
      const ColumnAnswer& answer = explainer.answers()[row * kFeatures + j];
      const double mean = ConditionalMean(x, j);
      const double stddev = 1 / std::sqrt(kPrecision[j][j]);
      const double z = (x[j] - mean) / stddev;
      EXPECT_NEAR(answer.surprise, 0.5 * z * z + std::log(stddev) + 0.5 * std::log(2 * M_PI), 2e-3);
      EXPECT_NEAR(answer.tail_probability / std::erfc(std::abs(z) / std::sqrt(2.0)), 1, 0.02);
      EXPECT_NEAR(answer.median, mean, 2e-3);
      EXPECT_NEAR(answer.lower, mean - 1.6448536 * stddev, 3e-3);
      EXPECT_NEAR(answer.upper, mean + 1.6448536 * stddev, 3e-3);
    }
  }
}

TEST(ExplainerTest, ColumnsAreAnsweredInTheOrderAsked) {
  const std::vector<ColumnRange> ranges = Ranges();
  Explainer whole(kRows, kFeatures, kAll, ranges, {});
  Explainer part(kRows, kFeatures, {2, 0}, {ranges[2], ranges[0]}, {});
  RunToEnd(whole);
  RunToEnd(part);
  for (size_t row = 0; row < 4; ++row) {
    EXPECT_EQ(part.answers()[row * 2].surprise, whole.answers()[row * 3 + 2].surprise);
    EXPECT_EQ(part.answers()[row * 2 + 1].surprise, whole.answers()[row * 3].surprise);
  }
}

TEST(ExplainerTest, PointsDifferFromTheirRowInOneColumnAtMost) {
  Explainer explainer(kRows, kFeatures, kAll, Ranges(), {});
  while (!explainer.is_done()) {
    for (size_t i = 0; i < explainer.origin().size(); ++i) {
      size_t same = 0;
      for (size_t j = 0; j < kFeatures; ++j) {
        same += explainer.points()[i * kFeatures + j] == kRows[explainer.origin()[i] * kFeatures + j];
      }
      ASSERT_GE(same, kFeatures - 1);
    }
    explainer.Take(NormalDensity(explainer));
  }
}

TEST(ExplainerTest, BatchesAreBoundedAndDoNotChangeTheAnswer) {
  ExplainOptions options;
  options.batch_points = 500;
  Explainer small(kRows, kFeatures, kAll, Ranges(), options);
  while (!small.is_done()) {
    ASSERT_LE(small.origin().size(), 1000u);
    small.Take(NormalDensity(small));
  }
  Explainer large(kRows, kFeatures, kAll, Ranges(), {});
  RunToEnd(large);
  for (size_t i = 0; i < large.answers().size(); ++i) {
    EXPECT_EQ(small.answers()[i].surprise, large.answers()[i].surprise);
    EXPECT_EQ(small.answers()[i].median, large.answers()[i].median);
  }
}

TEST(ExplainerTest, AValueThatCannotBeLeavesNothingToSayOfTheOthers) {
  // Column 1 is positive, and the numbers are those of float32.
  std::vector<ColumnRange> ranges = Ranges();
  ranges[1].center = 1;
  ranges[1].support_low = 0;
  const std::vector<double> rows = {10, -2, 0.5, 10, 1, 0.5};
  ExplainOptions options;
  options.noise = 1e-5;
  options.noise_per_nat = 1e-6;
  Explainer explainer(rows, kFeatures, kAll, ranges, options);
  while (!explainer.is_done()) {
    std::vector<double> log_prob = NormalDensity(explainer);
    for (size_t i = 0; i < log_prob.size(); ++i) {
      if (explainer.points()[i * kFeatures + 1] <= 0) log_prob[i] = -std::numeric_limits<double>::infinity();
    }
    explainer.Take(log_prob);
  }
  for (size_t j : {0, 2}) {
    EXPECT_TRUE(std::isnan(explainer.answers()[j].surprise));
    EXPECT_TRUE(std::isnan(explainer.answers()[j].upper));
  }
  const ColumnAnswer& impossible = explainer.answers()[1];
  const ColumnAnswer& possible = explainer.answers()[kFeatures + 1];
  EXPECT_EQ(impossible.surprise, std::numeric_limits<double>::infinity());
  EXPECT_EQ(impossible.tail_probability, 0);
  EXPECT_LT(impossible.error, 1e-3);
  EXPECT_TRUE(std::isfinite(possible.surprise));
  // The other columns are the same, and so is what they lead one to expect.
  EXPECT_NEAR(impossible.median, possible.median, 1e-3);
  EXPECT_NEAR(impossible.lower, possible.lower, 1e-3);
  EXPECT_NEAR(impossible.upper, possible.upper, 1e-3);
}

TEST(ExplainerTest, ARowWithoutALogPHasNoAnswerAndItsNeighboursHaveTheirs) {
  Explainer all(kRows, kFeatures, kAll, Ranges(), {});
  RunToEnd(all);
  Explainer explainer(kRows, kFeatures, kAll, Ranges(), {});
  while (!explainer.is_done()) {
    std::vector<double> log_prob = NormalDensity(explainer);
    for (size_t i = 0; i < log_prob.size(); ++i) {
      if (explainer.origin()[i] == 2) log_prob[i] = std::numeric_limits<double>::quiet_NaN();
    }
    explainer.Take(log_prob);
  }
  EXPECT_TRUE(std::isnan(explainer.log_prob()[2]));
  for (size_t i = 0; i < explainer.answers().size(); ++i) {
    if (i / kFeatures == 2) {
      ExpectNoAnswer(explainer.answers()[i]);
    } else {
      EXPECT_EQ(explainer.answers()[i].surprise, all.answers()[i].surprise);
      EXPECT_EQ(explainer.answers()[i].error, all.answers()[i].error);
    }
  }
}

TEST(ExplainerTest, RowsWithoutALogPAreAnsweredAtOnce) {
  Explainer explainer(kRows, kFeatures, kAll, Ranges(), {});
  explainer.Take(std::vector<double>(4, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_TRUE(explainer.is_done());
  for (const ColumnAnswer& answer : explainer.answers()) ExpectNoAnswer(answer);
}

// As where numbers overflow far out: the integral over the column is not known, others are.
TEST(ExplainerTest, AColumnWhoseIntegralMeetsNoNumberHasNoAnswer) {
  std::vector<ColumnRange> ranges = Ranges();
  ranges[1].max = 50;
  Explainer explainer(kRows, kFeatures, kAll, ranges, {});
  while (!explainer.is_done()) {
    std::vector<double> log_prob = NormalDensity(explainer);
    for (size_t i = 0; i < log_prob.size(); ++i) {
      if (explainer.points()[i * kFeatures + 1] > 30) log_prob[i] = std::numeric_limits<double>::quiet_NaN();
    }
    explainer.Take(log_prob);
  }
  for (size_t i = 0; i < explainer.answers().size(); ++i) {
    if (i % kFeatures == 1) {
      ExpectNoAnswer(explainer.answers()[i]);
    } else {
      EXPECT_TRUE(std::isfinite(explainer.answers()[i].surprise));
    }
  }
}

// Without an end of its own, the last column of all would be left at zero.
TEST(ExplainerTest, AColumnWithoutAPlaceHasNoAnswer) {
  std::vector<ColumnRange> ranges = Ranges();
  ranges[2].is_whole = true;
  ranges[2].support_low = 0.5;
  ranges[2].support_high = 0.75;
  Explainer explainer({10, -2, 0.5}, kFeatures, {2}, {ranges[2]}, {});
  RunToEnd(explainer);
  EXPECT_TRUE(std::isnan(explainer.answers()[0].median));
}

TEST(ExplainerTest, SaysInWhichColumnAPointDiffers) {
  Explainer explainer(kRows, kFeatures, {2}, {Ranges()[2]}, {});
  EXPECT_EQ(explainer.ChangedColumn(3), std::nullopt);
  explainer.Take(NormalDensity(explainer));
  EXPECT_EQ(explainer.ChangedColumn(3), 2);
}

}  // namespace
}  // namespace densityd::explain
