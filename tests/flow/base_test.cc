// What every base distribution promises: a density that integrates to one, and samples that follow it.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

struct Base {
  std::string name;
  std::string text;
  int64_t features = 1;
  int64_t context = 0;
};

void PrintTo(const Base& base, std::ostream* out) { *out << base.name; }

class BaseTest : public testing::TestWithParam<Base> {
 protected:
  BaseTest() {
    flow_ = Build(ParseSpec("features: " + std::to_string(features()) +
                            " context_features: " + std::to_string(GetParam().context) + " layers { permutation {} } " +
                            "base { " + GetParam().text + " }"));
    Randomise(*flow_, 0.6);
    if (GetParam().context > 0) context_ = Normal({1, GetParam().context}, 3);
  }

  int64_t features() const { return GetParam().features; }
  Tensor Context(int64_t rows) const { return context_.defined() ? context_.expand({rows, -1}) : context_; }
  Tensor LogProb(const Tensor& z) const { return flow_->BaseLogProb(z, Context(z.size(0))); }
  Tensor Sample(int64_t rows, uint64_t seed = 5) const {
    const int64_t columns = NoiseColumns(flow_->spec().base(), features());
    return flow_->BaseFromNoise(Normal({rows, columns}, seed), Context(rows));
  }

  // Points sinh(t) of a fine grid of t, and the volume that each stands for: dense where most bases have their mass,
  // and far enough out for heavy tails.
  struct Grid {
    Tensor points;
    Tensor volumes;
  };
  Grid MakeGrid() const {
    const int64_t count = features() == 1 ? 200000 : 1200;
    const double limit = features() == 1 ? 14 : 7;
    const double step = 2 * limit / static_cast<double>(count);
    const Tensor t = (torch::arange(count, torch::kFloat64) + 0.5) * step - limit;
    const std::vector<Tensor> axes(features(), t.sinh());
    const std::vector<Tensor> steps(features(), t.cosh() * step);
    if (features() == 1) return {axes[0].unsqueeze(1), steps[0]};
    return {torch::cartesian_prod(axes), torch::cartesian_prod(steps).prod(1)};
  }

  const torch::NoGradGuard no_grad_;
  std::shared_ptr<Flow> flow_;
  Tensor context_;
};

TEST_P(BaseTest, IntegratesToOne) {
  const Grid grid = MakeGrid();
  EXPECT_NEAR((LogProb(grid.points).exp() * grid.volumes).sum().item<double>(), 1, 1e-3);
}

TEST_P(BaseTest, SamplesHaveTheEntropyOfTheDensity) {
  const Grid grid = MakeGrid();
  const Tensor log_prob = LogProb(grid.points);
  const Tensor mass = log_prob.exp() * grid.volumes;
  const double entropy = -(mass * log_prob.masked_fill(mass == 0, 0)).sum().item<double>();
  const Tensor of_samples = -LogProb(Sample(40000));
  ASSERT_TRUE(of_samples.isfinite().all().item<bool>());
  const double error = of_samples.std().item<double>() / 200;
  EXPECT_NEAR(of_samples.mean().item<double>(), entropy, 4 * error + 1e-3);
}

TEST_P(BaseTest, SamplesFollowTheDistributionFunction) {
  if (features() > 1) GTEST_SKIP() << "one column";
  const Grid grid = MakeGrid();
  const Tensor cdf = (LogProb(grid.points).exp() * grid.volumes).cumsum(0);
  constexpr int64_t kCount = 20000;
  const Tensor samples = std::get<0>(Sample(kCount).squeeze(1).sort());
  const Tensor places = torch::searchsorted(grid.points.squeeze(1), samples).clamp_max(cdf.size(0) - 1);
  const Tensor expected = (torch::arange(kCount, torch::kFloat64) + 0.5) / kCount;
  // Kolmogorov and Smirnov: exceeded with probability 0.001.
  EXPECT_LE(MaxAbs(cdf.index_select(0, places) - expected), 1.95 / std::sqrt(kCount));
}

TEST_P(BaseTest, ASampledRowDependsOnItsOwnNoiseAlone) {
  const Tensor together = Sample(50);
  const int64_t columns = NoiseColumns(flow_->spec().base(), features());
  const Tensor noise = Normal({50, columns}, 5);
  for (int64_t row : {0, 17, 49}) {
    const Tensor alone = flow_->BaseFromNoise(noise.narrow(0, row, 1), Context(1));
    EXPECT_LE(MaxAbs(alone - together.narrow(0, row, 1)), 1e-14);
  }
}

TEST_P(BaseTest, Float32AgreesWithFloat64) {
  const Tensor noise = Normal({200, NoiseColumns(flow_->spec().base(), features())}, 5).to(torch::kFloat32);
  const Tensor expected = flow_->BaseFromNoise(noise.to(torch::kFloat64), Context(200));
  const Tensor expected_log_prob = LogProb(expected);
  flow_->to(torch::kFloat32);
  if (context_.defined()) context_ = context_.to(torch::kFloat32);
  const Tensor z = flow_->BaseFromNoise(noise, Context(200));
  EXPECT_EQ(z.scalar_type(), torch::kFloat32);
  EXPECT_LE(MaxAbs((z - expected) / (1 + expected.abs())), 1e-5);
  const Tensor log_prob = LogProb(z);
  EXPECT_EQ(log_prob.scalar_type(), torch::kFloat32);
  EXPECT_LE(MaxAbs((log_prob - expected_log_prob) / (1 + expected_log_prob.abs())), 2e-5);
}

const std::string kConditioner = "conditioner { mlp { hidden: [7] activation: TANH } }";

INSTANTIATE_TEST_SUITE_P(
    Bases, BaseTest,
    testing::Values(Base{"StandardNormal", "standard_normal {}"}, Base{"DiagonalNormal", "diagonal_normal {}"},
                    Base{"StudentT", "student_t {}"}, Base{"StudentTOfThreeDegrees", "student_t { degrees: 3 }"},
                    Base{"StudentTFixed", "student_t { degrees: 1.8 fixed: true }"},
                    Base{"StudentTAlmostNormal", "student_t { degrees: 1000 }"}, Base{"TwoStudentT", "student_t {}", 2},
                    Base{"Mixture", "gaussian_mixture { components: 3 }"},
                    Base{"MixtureOfOne", "gaussian_mixture { components: 1 }"},
                    Base{"MixtureOfTwoColumns", "gaussian_mixture { components: 5 }", 2},
                    Base{"UnitBox", "uniform_box {}"}, Base{"Box", "uniform_box { low: -1.5 high: 4 }"},
                    Base{"Conditional", "conditional_diagonal_normal { " + kConditioner + " }", 1, 2},
                    Base{"Product",
                         "product { groups { columns: 1 base { student_t {} } }"
                         "          groups { columns: 0 base { gaussian_mixture { components: 2 } } } }",
                         2}),
    [](const auto& info) { return info.param.name; });

TEST(GaussianMixture, StartsWithUnlikeComponentsNearTheStandardNormal) {
  const auto flow = Build(
      ParseSpec("features: 4 base { gaussian_mixture { components: 30 } } layers { permutation { kind: REVERSE } }"));
  const auto tensors = flow->named_parameters();
  const Tensor means = tensors["base.means"];
  EXPECT_LE(means.abs().max().item<double>(), 1);
  EXPECT_NEAR(means.std().item<double>(), 1 / std::sqrt(3), 0.1);
  EXPECT_EQ(MaxAbs(tensors["base.log_scales"]), 0);
  EXPECT_EQ(MaxAbs(tensors["base.weights"]), 0);
}

TEST(StudentT, HasTheDensityOfTheTextbook) {
  // The t distribution of 3 degrees: p(z) = 2 / (pi sqrt 3 (1 + z^2 / 3)^2); of 2: p(z) = 1 / (2 + z^2)^(3/2).
  for (const auto& [degrees, expected] : {std::pair{3.0, 2 / (M_PI * std::sqrt(3.0) * std::pow(1 + 0.49 / 3, 2))},
                                          std::pair{2.0, std::pow(2 + 0.49, -1.5)}}) {
    const auto flow = Build(ParseSpec("features: 1 layers { permutation {} } base { student_t { fixed: true degrees: " +
                                      std::to_string(degrees) + " } }"));
    EXPECT_NEAR(flow->LogProb(torch::full({1, 1}, 0.7, torch::kFloat64), Tensor()).item<double>(), std::log(expected),
                1e-12);
  }
}

TEST(UniformBox, HasNoDensityOutside) {
  const auto flow = Build(ParseSpec("features: 2 layers { permutation {} } base { uniform_box { low: -1 high: 3 } }"));
  const Tensor x = torch::tensor({{0.0, 1.0}, {-1.0, 3.0}, {0.0, 3.001}, {-2.0, 0.0}}, torch::kFloat64);
  const Tensor log_prob = flow->LogProb(x, Tensor());
  EXPECT_NEAR(log_prob[0].item<double>(), -2 * std::log(4.0), 1e-15);
  EXPECT_NEAR(log_prob[1].item<double>(), -2 * std::log(4.0), 1e-15);
  EXPECT_EQ(log_prob[2].item<double>(), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(log_prob[3].item<double>(), -std::numeric_limits<double>::infinity());
}

TEST(UniformBox, HasTheSameEndsInBothPrecisions) {
  const auto flow =
      Build(ParseSpec("features: 1 layers { permutation {} } base { uniform_box { low: -3.141592653589793 high: "
                      "3.141592653589793 } }"));
  const auto pi = static_cast<float>(M_PI);
  const Tensor x = torch::tensor({pi, -pi, std::nextafterf(pi, 4)}, torch::kFloat32).unsqueeze(1);
  for (const torch::Dtype dtype : {torch::kFloat64, torch::kFloat32}) {
    flow->to(dtype);
    const Tensor log_prob = flow->LogProb(x.to(dtype), Tensor());
    const Tensor by_column = flow->LogProbByColumn(x.to(dtype), Tensor()).squeeze(1);
    EXPECT_TRUE(torch::equal(log_prob, by_column));
    for (int64_t row : {0, 1}) EXPECT_NEAR(log_prob[row].item<double>(), -std::log(2 * M_PI), 1e-6);
    EXPECT_EQ(log_prob[2].item<double>(), -std::numeric_limits<double>::infinity());
  }
}

TEST(UniformBox, IsFlatInside) {
  const auto flow = Build(ParseSpec("features: 2 layers { permutation {} } base { uniform_box { low: -1 high: 3 } }"));
  const Tensor x = torch::tensor({{0.0, 2.5}, {-0.5, 9.0}}, torch::kFloat64).requires_grad_();
  flow->LogProb(x, Tensor()).sum().backward();
  EXPECT_EQ(MaxAbs(x.grad()), 0);
}

TEST(ProductBase, GivesEachColumnTheDistributionOfItsGroup) {
  const auto flow =
      Build(ParseSpec("features: 3 layers { permutation { columns: [0, 1, 2] } } base { product {"
                      "groups { columns: [2, 0] base { uniform_box { low: 5 high: 6 } } } groups { columns: 1 } } }"));
  const Tensor z = flow->BaseFromNoise(Normal({100, 3}, 1), Tensor());
  for (int64_t column : {0, 2}) {
    EXPECT_GE(z.select(1, column).min().item<double>(), 5);
    EXPECT_LE(z.select(1, column).max().item<double>(), 6);
  }
  EXPECT_LT(z.select(1, 1).max().item<double>(), 5);
  EXPECT_TRUE(flow->LogProb(z, Tensor()).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace densityd::flow
