// The terms of the chain rule, and how far estimates of log p are off.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/flow/chain_order.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Case {
  std::string name;
  std::string spec;
  int64_t context = 0;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

class LogProbByColumnTest : public testing::TestWithParam<Case> {
 protected:
  LogProbByColumnTest() {
    flow_ =
        Build(WithDefaults(ParseSpec(GetParam().spec + " context_features: " + std::to_string(GetParam().context))));
    Randomise(*flow_, 0.3);
    flow_->eval();
    order_ = ChainOrderOf(flow_->spec()).columns;
    // As far out as the flow's own samples.
    const int64_t columns = NoiseColumns(flow_->spec().base(), features());
    if (GetParam().context > 0) context_ = Normal({1, GetParam().context}, 3);
    x_ = flow_->Forward(flow_->BaseFromNoise(Normal({kRows, columns}, 5), Context(kRows)), Context(kRows)).value;
  }

  int64_t features() const { return flow_->spec().features(); }
  Tensor Context(int64_t rows) const { return context_.defined() ? context_.expand({rows, -1}) : context_; }
  Tensor ByColumn(const Tensor& x) const { return flow_->LogProbByColumn(x, Context(x.size(0))); }

  static constexpr int64_t kRows = 40;
  const torch::NoGradGuard no_grad_;
  std::shared_ptr<Flow> flow_;
  Columns order_;
  Tensor context_;
  Tensor x_;
};

TEST_P(LogProbByColumnTest, AddsUpToTheDensity) {
  const Tensor log_prob = flow_->LogProb(x_, Context(kRows));
  ASSERT_TRUE(log_prob.isfinite().all().item<bool>());
  EXPECT_LE(MaxAbs(ByColumn(x_).sum(1) - log_prob), 1e-10);
}

TEST_P(LogProbByColumnTest, DependsOnNoLaterColumn) {
  const Tensor expected = ByColumn(x_);
  for (size_t i = 0; i < order_.size(); ++i) {
    // Other values of this column and of all after it, which other rows have.
    Tensor other = x_.clone();
    for (size_t later = i; later < order_.size(); ++later) {
      other.select(1, order_[later]).copy_(x_.select(1, order_[later]).roll(1));
    }
    const Tensor changed = ByColumn(other);
    for (size_t before = 0; before < i; ++before) {
      EXPECT_LE(MaxAbs((changed - expected).select(1, order_[before])), 1e-11) << "column " << order_[before];
    }
    EXPECT_GT(MaxAbs((changed - expected).select(1, order_[i])), 1e-3) << "column " << order_[i];
  }
}

TEST_P(LogProbByColumnTest, EachTermIsADensity) {
  constexpr int64_t kPoints = 40001;
  for (const int64_t column : order_) {
    // sinh(t), dense where the mass is.
    const double step = 24.0 / (kPoints - 1);
    const Tensor t = torch::arange(kPoints, torch::kFloat64) * step - 12;
    Tensor points = x_.narrow(0, 0, 1).expand({kPoints, -1}).clone();
    points.select(1, column).copy_(t.sinh());
    const Tensor density = ByColumn(points).select(1, column).exp();
    EXPECT_NEAR((density * t.cosh() * step).sum().item<double>(), 1, 2e-3) << "column " << column;
  }
}

TEST_P(LogProbByColumnTest, Float32AgreesWithFloat64) {
  const Tensor expected = ByColumn(x_);
  flow_->to(torch::kFloat32);
  if (context_.defined()) context_ = context_.to(torch::kFloat32);
  const Tensor terms = ByColumn(x_.to(torch::kFloat32));
  EXPECT_EQ(terms.scalar_type(), torch::kFloat32);
  EXPECT_LE(MaxAbs((terms - expected) / (1 + expected.abs())), 2e-3);
}

const std::string kAutoregressive = "autoregressive { conditioner { mlp { hidden: [8] activation: TANH } } ";

INSTANTIATE_TEST_SUITE_P(
    Flows, LogProbByColumnTest,
    testing::Values(
        Case{"Affine", "features: 3 layers { full_affine {} }"},
        Case{"Maf", "features: 3 layers { " + kAutoregressive + "order: REVERSED } }"},
        Case{"Iaf", "features: 3 layers { " + kAutoregressive + "parallel: SAMPLING } }"},
        Case{"Given", "features: 3 layers { " + kAutoregressive + "columns: [1, 2, 0] } }"},
        Case{"Spline", "features: 2 layers { " + kAutoregressive + "univariate { rational_quadratic_spline {} } } }"},
        Case{"Naf", "features: 2 layers { " + kAutoregressive + "univariate { mixture_cdf { layers: 2 } } } }"},
        Case{"Stack",
             "features: 3 layers { standardize { mean: [1, 2, 3] scale: [2, 0.5, 1] } } layers { elementwise {} }"
             "layers { " +
                 kAutoregressive +
                 "} } layers { actnorm {} } layers { full_affine {} }"
                 "layers { bijection { kind: LEAKY_RELU_BIJECTION slope: 0.5 columns: [2, 0] } }"
                 "layers { " +
                 kAutoregressive + "} }"},
        Case{"Permuted", "features: 3 layers { actnorm {} } layers { permutation { columns: [2, 0, 1] } } layers { " +
                             kAutoregressive + "} } layers { permutation { columns: [1, 0, 2] } } layers { " +
                             kAutoregressive + "columns: [1, 0, 2] } } base { diagonal_normal {} }"},
        Case{"Preprocessed",
             "features: 4 layers { preprocessing {"
             "  columns { kind: CONTINUOUS scaling: STANDARD center: 1 scale: 2 }"
             "  columns { kind: CONTINUOUS scaling: LOG low: -1 center: 0 scale: 0.7 }"
             "  columns { kind: CONTINUOUS scaling: YEO_JOHNSON power: 0.5 center: 0 scale: 1.5 }"
             "  columns { kind: CONTINUOUS scaling: LOGIT low: -2 high: 3 center: 0 scale: 1 } } }"
             "layers { " +
                 kAutoregressive + "} }"},
        Case{"Context",
             "features: 2 layers { " + kAutoregressive +
                 "} } layers { elementwise { conditioner { mlp { hidden: 5 } } } }"
                 "base { conditional_diagonal_normal { conditioner { mlp { hidden: 5 } } } }",
             2},
        Case{"MixtureBase", "features: 3 layers { " + kAutoregressive +
                                "order: REVERSED } } base { gaussian_mixture { components: 3 } }"},
        Case{"StudentBase", "features: 2 layers { full_affine {} } base { student_t { degrees: 4 } }"},
        Case{"ProductBase", "features: 4 layers { permutation { columns: [3, 1, 0, 2] } } layers { " + kAutoregressive +
                                "order: REVERSED } } base { product { groups { columns: [3, 0] base { gaussian_mixture "
                                "{ components: 2 } "
                                "} } groups { columns: [1] base { student_t {} } } groups { columns: [2] } } }"},
        Case{"OneColumn", "features: 1 layers { planar {} } layers { " + kAutoregressive + "} }"}),
    [](const auto& info) { return info.param.name; });

TEST(LogProbByColumn, OfANormalIsTheTextbooksConditional) {
  const torch::NoGradGuard no_grad;
  const auto flow = Build(ParseSpec("features: 4 layers { full_affine {} }"));
  Randomise(*flow, 0.7);
  // Mean and covariance from what the map does to points, not from its parameters.
  const Tensor mean = flow->Forward(torch::zeros({1, 4}, torch::kFloat64), Tensor()).value[0];
  const Tensor factor = flow->Forward(torch::eye(4, torch::kFloat64), Tensor()).value - mean;
  const Tensor covariance = factor.t().matmul(factor);
  const Tensor x = 2 * Normal({30, 4}, 8);
  const Tensor terms = flow->LogProbByColumn(x, Tensor());
  for (int64_t j = 0; j < 4; ++j) {
    // N(m_j + S_ji S_ii^-1 (x_i - m_i), S_jj - S_ji S_ii^-1 S_ij) with i the columns before j.
    const Tensor before = covariance.narrow(0, 0, j).narrow(1, 0, j);
    const Tensor cross = covariance.narrow(0, 0, j).select(1, j);
    const Tensor weights = j == 0 ? cross : torch::linalg_solve(before, cross);
    const Tensor expected = mean[j] + (x.narrow(1, 0, j) - mean.narrow(0, 0, j)).matmul(weights);
    const Tensor variance = covariance[j][j] - cross.dot(weights);
    const Tensor log_density = -0.5 * ((x.select(1, j) - expected).square() / variance + (2 * M_PI * variance).log());
    EXPECT_LE(MaxAbs(terms.select(1, j) - log_density), 1e-10) << j;
  }
}

TEST(LogProbByColumn, AColumnOutsideOfItsSupportIsTheOneThatIsImpossible) {
  const torch::NoGradGuard no_grad;
  const auto flow = Build(
      ParseSpec("features: 3 layers { preprocessing { columns { kind: CONTINUOUS scaling: STANDARD center: 0 scale: 1 }"
                "columns { kind: CONTINUOUS scaling: LOG center: 0 scale: 1 }"
                "columns { kind: CATEGORICAL categories: [3, 5] scaling: LOGIT center: 0 scale: 1 } } }"
                "layers { autoregressive {} }"));
  Randomise(*flow, 0.3);
  flow->eval();
  const Tensor x = torch::tensor({{0.0, 1.0, 5.0}, {0.0, -1.0, 5.0}, {0.0, 1.0, 4.0}}, torch::kFloat64);
  const Tensor terms = flow->LogProbByColumn(x, Tensor());
  EXPECT_TRUE(terms[0].isfinite().all().item<bool>());
  EXPECT_NEAR(terms[0].sum().item<double>(), flow->LogProb(x, Tensor())[0].item<double>(), 1e-12);
  EXPECT_EQ(terms[1][1].item<double>(), -kInfinity);
  EXPECT_TRUE(terms[1][0].isfinite().item<bool>());
  EXPECT_EQ(terms[2][2].item<double>(), -kInfinity);
  EXPECT_FALSE(terms.isnan().any().item<bool>());
}

// Columns of flows that estimate, and options of their exact twins.
constexpr char kExact[] = "exact_trace_features: 32";

std::string Layer(const std::string& kind, const std::string& options) {
  const std::string network = kind == "residual"
                                  ? "network { hidden: [12] }"
                                  : "network { hidden: [12, 12, 12] activation: TANH } atol: 1e-8 rtol: 1e-8";
  return "features: 20 layers { " + kind + " { " + network + " " + options + " } }";
}

class LogProbWithErrorTest : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<Flow> Make(const std::string& options) const {
    auto flow = Build(ParseSpec(Layer(GetParam(), options)));
    Randomise(*flow, 0.3);
    flow->eval();
    return flow;
  }
  const torch::NoGradGuard no_grad_;
};

TEST_P(LogProbWithErrorTest, IsHowFarEstimatesAreOff) {
  const Tensor x = Normal({25, 20}, 4);
  const Tensor exact = Make(kExact)->LogProb(x, Tensor());
  double squares = 0;
  constexpr int kSeeds = 12;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const auto flow = Make("probes: 2 seed: " + std::to_string(seed));
    const Mapped answer = flow->LogProbWithError(x, Tensor());
    EXPECT_EQ(MaxAbs(answer.log_abs_det - flow->LogProb(x, Tensor())), 0) << "log p stays what it is";
    ASSERT_GT(answer.value.min().item<double>(), 0);
    squares += ((answer.log_abs_det - exact) / answer.value.squeeze(1)).square().mean().item<double>();
  }
  // Student's t with 7 degrees of freedom has the variance 7 / 5. Rows share their probes, so that few numbers are
  // averaged here: within a factor of two.
  const double ratio = std::sqrt(squares / kSeeds / 1.4);
  EXPECT_GT(ratio, 0.5);
  EXPECT_LT(ratio, 2);
}

TEST_P(LogProbWithErrorTest, ShrinksWithTheRootOfTheProbes) {
  const Tensor x = Normal({25, 20}, 4);
  const auto error = [&](const std::string& options) {
    return Make(options)->LogProbWithError(x, Tensor()).value.square().mean().sqrt().item<double>();
  };
  EXPECT_NEAR(error("probes: 2") / error("probes: 32"), 4, 2);
}

TEST_P(LogProbWithErrorTest, IsTheSameInEveryCallAndForEachRowAlone) {
  const Tensor x = Normal({5, 20}, 4);
  const auto flow = Make("probes: 2");
  const Tensor error = flow->LogProbWithError(x, Tensor()).value;
  EXPECT_LE(MaxAbs(flow->LogProbWithError(x.narrow(0, 3, 1), Tensor()).value - error[3]), 1e-9);
}

TEST_P(LogProbWithErrorTest, IsZeroWhereTheTraceIsExact) {
  const Mapped answer = Make(kExact)->LogProbWithError(Normal({5, 20}, 4), Tensor());
  EXPECT_EQ(MaxAbs(answer.value), 0);
}

INSTANTIATE_TEST_SUITE_P(Layers, LogProbWithErrorTest, testing::Values("residual", "continuous"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace densityd::flow
