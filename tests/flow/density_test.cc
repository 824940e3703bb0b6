// Flows are densities: they integrate to one, and maximum likelihood finds the density that made the data.
#include <cmath>
#include <string>

#include "gtest/gtest.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"
#include "torch/optim/adam.h"

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

// A wave: x0 ~ N(0, 1), x1 ~ N(sin 2 x0, 0.3^2). Entropy log(2 pi e) + log 0.3.
Tensor Wave(int64_t rows, uint64_t seed) {
  const Tensor normal = Normal({rows, 2}, seed);
  const Tensor first = normal.select(1, 0);
  return torch::stack({first, 0.3 * normal.select(1, 1) + (2 * first).sin()}, 1);
}

struct Training {
  std::string preset;
  int steps;
  std::string options = "transforms: 3 hidden: [32, 32] activation: TANH";
  int rows = 256;  // of a step
  double rate = 5e-3;
};

void PrintTo(const Training& training, std::ostream* out) { *out << training.preset; }

class TrainedPresetTest : public testing::TestWithParam<Training> {};

TEST_P(TrainedPresetTest, ComesWithinFiveHundredthsOfANatOfTheEntropy) {
  density::v1::Preset preset;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().options, &preset));
  preset.set_name(GetParam().preset);
  // Flow matching draws noise from LibTorch's generator.
  at::manual_seed(1);
  const auto spec = ExpandPreset(preset, 2, 0);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto fitted = FitStandardize(*spec, Wave(5000, 1), Tensor());
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  const auto flow = Build(*fitted);
  flow->to(torch::kFloat32);
  torch::optim::Adam optimizer(flow->parameters(), torch::optim::AdamOptions(GetParam().rate));
  for (int step = 0; step < GetParam().steps; ++step) {
    static_cast<torch::optim::AdamOptions&>(optimizer.param_groups()[0].options())
        .lr(GetParam().rate * 0.5 * (1 + std::cos(M_PI * step / GetParam().steps)));
    optimizer.zero_grad();
    flow->TrainingLoss(Wave(GetParam().rows, 100 + step), Tensor()).mean().backward();
    optimizer.step();
  }
  flow->to(torch::kFloat64);
  flow->eval();
  const torch::NoGradGuard no_grad;
  const double entropy = std::log(2 * M_PI * M_E) + std::log(0.3);
  const double cross_entropy = -flow->LogProb(Wave(50000, 2), Tensor()).mean().item<double>();
  EXPECT_NEAR(cross_entropy, entropy, 0.05);
}

INSTANTIATE_TEST_SUITE_P(
    Presets, TrainedPresetTest,
    testing::Values(Training{"realnvp", 600}, Training{"maf", 600},
                    Training{"nsf_coupling", 300, "transforms: 2 hidden: [32, 32] activation: TANH"},
                    Training{"nsf_ar", 300, "transforms: 2 hidden: [32, 32] activation: TANH"},
                    Training{"naf", 300, "transforms: 2 hidden: [32, 32] activation: TANH"},
                    Training{"ffjord", 200,
                             "hidden: [32, 32] activation: SILU continuous_options { rtol: 1e-3 atol: 1e-3 }", 256,
                             2e-2},
                    Training{"flow_matching", 5000, "hidden: [64, 64] activation: SILU", 1024, 2e-2}),
    [](const auto& info) { return info.param.preset; });

}  // namespace
}  // namespace densityd::flow
