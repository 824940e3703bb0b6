// Flows are densities: they integrate to one.
#include <cmath>
#include <string>

#include "gtest/gtest.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

// The integral of the density over [low, high]^2, by the midpoint rule.
double Integral(Flow& flow, double low, double high, const Tensor& context) {
  constexpr int64_t kPoints = 300;
  const double step = (high - low) / kPoints;
  const Tensor axis = low + step * (torch::arange(kPoints, torch::kFloat64) + 0.5);
  const Tensor grid = torch::cartesian_prod({axis, axis});
  const torch::NoGradGuard no_grad;
  const Tensor contexts = context.defined() ? context.expand({grid.size(0), context.size(1)}) : context;
  return flow.LogProb(grid, contexts).exp().sum().item<double>() * step * step;
}

struct Density {
  std::string name;
  std::string layers;
  double low;
  double high;
  bool has_context = false;
};

void PrintTo(const Density& density, std::ostream* out) { *out << density.name; }

class DensityTest : public testing::TestWithParam<Density> {};

TEST_P(DensityTest, IntegratesToOne) {
  const bool has_context = GetParam().has_context;
  const auto flow =
      Build(ParseSpec(std::string("features: 2 context_features: ") + (has_context ? "1 " : "0 ") + GetParam().layers));
  Randomise(*flow, 0.2);
  for (double value : {-1.0, 2.0}) {
    const Tensor context = has_context ? torch::full({1, 1}, value, torch::kFloat64) : Tensor();
    EXPECT_NEAR(Integral(*flow, GetParam().low, GetParam().high, context), 1, 0.005);
  }
}

const std::string kMlp = "conditioner { mlp { hidden: [16] activation: TANH } } ";

INSTANTIATE_TEST_SUITE_P(
    Flows, DensityTest,
    testing::Values(
        Density{"RealNvp",
                "layers { standardize { mean: [1, -1] scale: [0.5, 2] } } layers { coupling { " + kMlp +
                    "} } layers { coupling { mask { pattern: ALTERNATING_EVEN } " + kMlp +
                    "} } base { diagonal_normal {} }",
                -25, 25},
        Density{"MafOfContext",
                "layers { autoregressive { " + kMlp +
                    "} } layers { lu_linear {} } layers { autoregressive { order: "
                    "REVERSED " +
                    kMlp + "} }",
                -25, 25, /*has_context=*/true},
        Density{"Iaf", "layers { autoregressive { parallel: SAMPLING " + kMlp + "} } layers { full_affine {} }", -25,
                25},
        Density{"Sigmoid", "layers { bijection { kind: SIGMOID } } layers { actnorm {} } layers { elementwise {} }", 0,
                1},
        Density{"Nsf",
                "layers { autoregressive { univariate { rational_quadratic_spline {} } " + kMlp +
                    "} } layers { permutation {} } layers { coupling { univariate { rational_quadratic_spline {} } " +
                    kMlp + "} }",
                -8, 8},
        Density{"Circles",
                "layers { autoregressive { univariate { rational_quadratic_spline { bound: 3.141592653589793 "
                "circular: [0, 1] } } " +
                    kMlp +
                    "} } layers { autoregressive { order: REVERSED univariate { rational_quadratic_spline { bound: "
                    "3.141592653589793 circular: [0, 1] } } " +
                    kMlp + "} } base { uniform_box { low: -3.141592653589793 high: 3.141592653589793 } }",
                -M_PI, M_PI},
        // Three quarters of the grid are outside the support.
        Density{"Softplus", "layers { bijection { kind: SOFTPLUS } } layers { coupling { " + kMlp + "} }", -10, 10}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace densityd::flow
