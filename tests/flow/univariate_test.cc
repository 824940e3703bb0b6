// Univariate maps against their formulas, written out anew.
#include "server/flow/univariate.h"

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

double Sigmoid(double a) { return 1 / (1 + std::exp(-a)); }
double Softplus(double a) { return std::log1p(std::exp(a)); }
double Clip(double a, double c) { return a / (1 + std::abs(a) / c); }

// The map of a univariate in a spec with its defaults.
std::unique_ptr<Univariate> Make(const std::string& univariate) {
  const auto spec = ParseSpec("features: 1 layers { elementwise { univariate { " + univariate + " } } }");
  EXPECT_TRUE(CheckFlowSpec(spec).ok()) << CheckFlowSpec(spec);
  return MakeUnivariate(WithDefaults(spec).layers(0).elementwise().univariate(), {0});
}

Tensor Column(const std::vector<double>& numbers) { return torch::tensor(numbers, torch::kFloat64).unsqueeze(1); }

struct ScaleCase {
  std::string options;
  std::function<double(double)> scale;  // g(a)
};

std::vector<ScaleCase> ScaleCases() {
  const double softplus_offset = std::log(std::exp(1 - 0.001) - 1);
  return {
      {"", [](double a) { return std::exp(3 * std::tanh(a / 3)); }},
      {"max_log_scale: 0.5", [](double a) { return std::exp(0.5 * std::tanh(a / 0.5)); }},
      {"scale_function: SOFT_CLIP", [](double a) { return std::exp(Clip(a, 3)); }},
      {"scale_function: SOFT_CLIP max_log_scale: 6", [](double a) { return std::exp(Clip(a, 6)); }},
      {"scale_function: EXP", [](double a) { return std::exp(a); }},
      {"scale_function: SOFTPLUS", [=](double a) { return 0.001 + Softplus(a + softplus_offset); }},
      {"scale_function: SOFTPLUS min_scale: 0", [](double a) { return Softplus(a + std::log(std::exp(1.0) - 1)); }},
      {"scale_function: SIGMOID min_scale: 0", [](double a) { return 2 * Sigmoid(a); }},
      {"scale_function: SIGMOID max_scale: 1.001",  // nflows: 0.001 + sigmoid
       [](double a) { return 0.001 + Sigmoid(a + std::log(0.999 / 0.001)); }},
      {"scale_function: SIGMOID min_scale: 0.5 max_scale: 4",
       [](double a) { return 0.5 + 3.5 * Sigmoid(a + std::log((1 / 7.0) / (6 / 7.0))); }},
  };
}

// What the four ways of writing the map do with a scale of g: z -> x.
struct Writing {
  std::string options;
  std::function<double(double z, double g, double t)> forward;
  double log_slope_sign;  // log dx/dz = sign * log g
};

const Writing kWritings[] = {
    {"", [](double z, double g, double t) { return z * g + t; }, 1},
    {" direction: INVERSE", [](double z, double g, double t) { return (z - t) / g; }, -1},
    {" reciprocal_scale: true", [](double z, double g, double t) { return z / g + t; }, -1},
    {" direction: INVERSE reciprocal_scale: true", [](double z, double g, double t) { return (z - t) * g; }, 1},
};

TEST(Affine, IsWhatItsOptionsSay) {
  const std::vector<double> raw = {-9, -2, -0.3, 0, 0.7, 4};
  const double shift = -0.6;
  for (const ScaleCase& scale : ScaleCases()) {
    for (const Writing& writing : kWritings) {
      const std::string options = scale.options + writing.options;
      const auto affine = Make("affine { " + options + " }");
      for (double a : raw) {
        const double z = 1.7;
        const Tensor theta = torch::tensor({a, shift}, torch::kFloat64).reshape({1, 1, 2});
        const MappedColumns forward = affine->Forward(Column({z}), theta);
        const double g = scale.scale(a);
        const double x = writing.forward(z, g, shift);
        const double log_slope = writing.log_slope_sign * std::log(g);
        EXPECT_NEAR(forward.value.item<double>(), x, 1e-11 * (1 + std::abs(x))) << options << " a = " << a;
        EXPECT_NEAR(forward.log_slope.item<double>(), log_slope, 1e-11) << options << " a = " << a;
        const MappedColumns inverse = affine->Inverse(Column({x}), theta);
        EXPECT_NEAR(inverse.value.item<double>(), z, 1e-10) << options << " a = " << a;
        EXPECT_NEAR(inverse.log_slope.item<double>(), -log_slope, 1e-11) << options << " a = " << a;
      }
    }
  }
}

TEST(Shift, AddsItsParameterOnTheWayToTheData) {
  const auto shift = Make("shift {}");
  const Tensor theta = torch::tensor({0.25}, torch::kFloat64).reshape({1, 1, 1});
  EXPECT_EQ(shift->Forward(Column({2}), theta).value.item<double>(), 2.25);
  EXPECT_EQ(shift->Inverse(Column({2}), theta).value.item<double>(), 1.75);
}

// Knots in x and z and the slopes there: the identity has its knots at even distances.
struct Knots {
  std::vector<double> x;
  std::vector<double> z;
  std::vector<double> slopes;
};

std::vector<double> CumulativeShares(const std::vector<double>& shares, double bound) {
  std::vector<double> knots = {-bound};
  for (double share : shares) knots.push_back(knots.back() + 2 * bound * share);
  return knots;
}

std::vector<double> Softmax(std::vector<double> raw) {
  double sum = 0;
  for (double& number : raw) sum += number = std::exp(number);
  for (double& number : raw) number /= sum;
  return raw;
}

// A spline passes through its knots with the slopes there.
void ExpectKnots(const std::string& options, const std::vector<double>& theta, const Knots& knots) {
  const auto spline = Make("rational_quadratic_spline { " + options + " }");
  const Tensor parameters = torch::tensor(theta, torch::kFloat64).reshape({1, 1, static_cast<int64_t>(theta.size())});
  for (size_t k = 0; k < knots.x.size(); ++k) {
    const MappedColumns inverse = spline->Inverse(Column({knots.x[k]}), parameters);
    EXPECT_NEAR(inverse.value.item<double>(), knots.z[k], 1e-12) << options << " knot " << k;
    EXPECT_NEAR(inverse.log_slope.item<double>(), std::log(knots.slopes[k]), 1e-9) << options << " knot " << k;
  }
}

TEST(RationalQuadraticSpline, PassesThroughTheKnotsOfItsParameters) {
  const std::vector<double> widths = {0.3, -1.1, 2};
  const std::vector<double> heights = {-0.4, 0.9, 0.1};
  const std::vector<double> slopes = {1.3, -0.8};
  std::vector<double> theta = widths;
  theta.insert(theta.end(), heights.begin(), heights.end());
  theta.insert(theta.end(), slopes.begin(), slopes.end());
  const auto with_minimum = [](std::vector<double> shares, double minimum) {
    for (double& share : shares) share = minimum + (1 - 3 * minimum) * share;
    return shares;
  };
  const auto softplus_slope = [](double raw, double minimum) {
    return minimum + Softplus(raw + std::log(std::exp(1 - minimum) - 1));
  };
  ExpectKnots("bins: 3 bound: 2", theta,
              {CumulativeShares(with_minimum(Softmax(widths), 0.001), 2),
               CumulativeShares(with_minimum(Softmax(heights), 0.001), 2),
               {1, softplus_slope(slopes[0], 0.001), softplus_slope(slopes[1], 0.001), 1}});
  ExpectKnots("bins: 3 bound: 2 min_width: 0.05 min_height: 0.2 min_slope: 0.3", theta,
              {CumulativeShares(with_minimum(Softmax(widths), 0.05), 2),
               CumulativeShares(with_minimum(Softmax(heights), 0.2), 2),
               {1, softplus_slope(slopes[0], 0.3), softplus_slope(slopes[1], 0.3), 1}});
  const double c = -std::log(0.01);
  const auto clipped = [](std::vector<double> raw, double bound) {
    for (double& number : raw) number = Clip(number, bound);
    return Softmax(raw);
  };
  ExpectKnots("bins: 3 bound: 2 parameterization: SOFT_CLIP min_slope: 0.01", theta,
              {CumulativeShares(clipped(widths, c / 2), 2),
               CumulativeShares(clipped(heights, c / 2), 2),
               {1, std::exp(Clip(slopes[0], c)), std::exp(Clip(slopes[1], c)), 1}});
}

// The gradient of z must not be lost where a distribution function is the exponential of -1e23.
TEST(MixtureCdf, DerivativesAreThoseOfTheSlopeFarInTheTails) {
  for (const std::string family : {"NORMAL", "LOGISTIC"}) {
    const auto mixture = Make("mixture_cdf { components: 3 family: " + family + " }");
    const Tensor theta = Normal({1, 1, 9}, 4);
    for (double magnitude : {1.0, 30.0, 1e3, 1e6, 1e8, 1e10, 1e12}) {
      for (double sign : {-1.0, 1.0}) {
        const Tensor x = Column({sign * magnitude}).requires_grad_();
        const Tensor given = theta.clone().requires_grad_();
        const MappedColumns z = mixture->Inverse(x, given);
        const auto gradients = torch::autograd::grad({z.value.sum()}, {x, given}, {}, /*retain_graph=*/true);
        EXPECT_NEAR(gradients[0].item<double>() / z.log_slope.exp().item<double>(), 1, 1e-6) << family << x;
        EXPECT_TRUE(gradients[1].isfinite().all().item<bool>()) << family << x;
        for (const Tensor& gradient : torch::autograd::grad({z.log_slope.sum()}, {x, given})) {
          EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << family << x;
        }
      }
    }
  }
}

}  // namespace
}  // namespace densityd::flow
