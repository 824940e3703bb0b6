// Multivariate normals, whose conditionals are known.
#include "server/explain/explain.h"

#include <array>
#include <cmath>
#include <limits>
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

absl::Status NormalDensity(absl::Span<const double> points, absl::Span<const uint32_t> origin,
                           absl::Span<double> log_prob) {
  EXPECT_EQ(points.size(), kFeatures * log_prob.size());
  EXPECT_EQ(origin.size(), log_prob.size());
  for (size_t i = 0; i < log_prob.size(); ++i) {
    log_prob[i] = NormalLogDensity(points.subspan(i * kFeatures, kFeatures));
  }
  return absl::OkStatus();
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

TEST(ExplainTest, MultivariateNormalAgreesWithItsConditionals) {
  const std::vector<uint32_t> columns = {0, 1, 2};
  const auto explanation = Explain(kRows, kFeatures, columns, Ranges(), NormalDensity, {});
  ASSERT_TRUE(explanation.ok()) << explanation.status();
  ASSERT_EQ(explanation->answers.size(), 12u);
  for (size_t row = 0; row < 4; ++row) {
    const absl::Span<const double> x(&kRows[row * kFeatures], kFeatures);
    EXPECT_EQ(explanation->log_prob[row], NormalLogDensity(x));
    for (size_t j = 0; j < kFeatures; ++j) {
      const ColumnAnswer& answer = explanation->answers[row * kFeatures + j];
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

TEST(ExplainTest, ColumnsAreAnsweredInTheOrderAsked) {
  const std::vector<uint32_t> all = {0, 1, 2};
  const std::vector<uint32_t> some = {2, 0};
  const std::vector<ColumnRange> ranges = Ranges();
  const auto whole = Explain(kRows, kFeatures, all, ranges, NormalDensity, {});
  const auto part = Explain(kRows, kFeatures, some, std::vector{ranges[2], ranges[0]}, NormalDensity, {});
  ASSERT_TRUE(whole.ok() && part.ok());
  for (size_t row = 0; row < 4; ++row) {
    EXPECT_EQ(part->answers[row * 2].surprise, whole->answers[row * 3 + 2].surprise);
    EXPECT_EQ(part->answers[row * 2 + 1].surprise, whole->answers[row * 3].surprise);
  }
}

TEST(ExplainTest, CallsAreBoundedAndNameTheRowOfEachPoint) {
  ExplainOptions options;
  options.batch_points = 100;
  size_t evaluations = 0;
  const LogDensity density = [&](absl::Span<const double> points, absl::Span<const uint32_t> origin,
                                 absl::Span<double> log_prob) {
    EXPECT_LE(log_prob.size(), 100u);
    evaluations += log_prob.size();
    for (size_t i = 0; i < origin.size(); ++i) {
      size_t same = 0;
      for (size_t j = 0; j < kFeatures; ++j) same += points[i * kFeatures + j] == kRows[origin[i] * kFeatures + j];
      EXPECT_GE(same, kFeatures - 1);
    }
    return NormalDensity(points, origin, log_prob);
  };
  const std::vector<uint32_t> columns = {0, 1, 2};
  const auto explanation = Explain(kRows, kFeatures, columns, Ranges(), density, options);
  ASSERT_TRUE(explanation.ok());
  EXPECT_EQ(explanation->evaluations, evaluations);
}

TEST(ExplainTest, BatchingDoesNotChangeTheAnswer) {
  ExplainOptions small;
  small.batch_points = 1;
  const std::vector<uint32_t> columns = {0, 1, 2};
  const auto one_by_one = Explain(kRows, kFeatures, columns, Ranges(), NormalDensity, small);
  const auto together = Explain(kRows, kFeatures, columns, Ranges(), NormalDensity, {});
  ASSERT_TRUE(one_by_one.ok() && together.ok());
  for (size_t i = 0; i < together->answers.size(); ++i) {
    EXPECT_EQ(one_by_one->answers[i].surprise, together->answers[i].surprise);
    EXPECT_EQ(one_by_one->answers[i].median, together->answers[i].median);
  }
}

TEST(ExplainTest, ErrorsOfTheDensityArePassedOn) {
  const LogDensity refuses = [](absl::Span<const double>, absl::Span<const uint32_t>, absl::Span<double>) {
    return absl::ResourceExhaustedError("full");
  };
  const std::vector<uint32_t> columns = {0};
  EXPECT_EQ(Explain(kRows, kFeatures, columns, {Ranges()[0]}, refuses, {}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ExplainTest, NotANumberIsAnErrorThatNamesTheRow) {
  const LogDensity broken = [](absl::Span<const double>, absl::Span<const uint32_t>, absl::Span<double> log_prob) {
    for (double& value : log_prob) value = std::numeric_limits<double>::quiet_NaN();
    return absl::OkStatus();
  };
  const std::vector<uint32_t> columns = {0};
  const auto status = Explain(kRows, kFeatures, columns, {Ranges()[0]}, broken, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(status.message().find("row 0"), std::string::npos);
}

}  // namespace
}  // namespace densityd::explain
