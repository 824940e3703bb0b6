#include "server/training/flat_parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "server/training/adam.h"
#include "torch/nn/module.h"

namespace densityd::training {
namespace {

// f(a, b) = sum(a * b), with a of 3 and b of (1, 3).
struct Product : torch::nn::Module {
  Product() {
    a = register_parameter("a", torch::tensor({1.0F, 2.0F, 3.0F}));
    b = register_parameter("b", torch::tensor({{4.0F, 5.0F, 6.0F}}));
  }
  torch::Tensor a;
  torch::Tensor b;
};

TEST(FlatParametersTest, TheModuleGoesOnWithViewsOfOneVector) {
  Product module;
  const FlatParameters parameters(module);
  EXPECT_EQ(module.a[1].item<float>(), 2);
  EXPECT_EQ(module.b[0][2].item<float>(), 6);
  {
    const torch::NoGradGuard no_grad;
    parameters.values().mul_(2);
  }
  EXPECT_EQ(module.a[1].item<float>(), 4);
  EXPECT_EQ(parameters.values().sum().item<float>(), 42);
}

TEST(FlatParametersTest, GradientsAddUpInOneVector) {
  Product module;
  const FlatParameters parameters(module);
  for (int pass = 1; pass <= 2; ++pass) {
    (module.a * module.b).sum().backward();
    EXPECT_EQ(module.a.grad()[2].item<float>(), 6 * pass);
    EXPECT_EQ(parameters.gradients().sum().item<float>(), 21 * pass);
  }
  parameters.gradients().zero_();
  EXPECT_EQ(module.b.grad().abs().sum().item<float>(), 0);
}

TEST(FlatParametersTest, NamesTheFirstParameterThatIsNotFinite) {
  Product module;
  const FlatParameters parameters(module);
  EXPECT_EQ(parameters.FirstNonfinite(parameters.values()), "");
  const torch::NoGradGuard no_grad;
  module.b[0][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(parameters.FirstNonfinite(parameters.values()), "b");
  EXPECT_EQ(parameters.FirstNonfinite(parameters.gradients()), "");
}

// Two steps of the paper's algorithm 1, by hand, in float64.
TEST(AdamTest, FollowsThePaper) {
  for (const bool decoupled : {false, true}) {
    density::v1::TrainingOptions options;
    options.set_optimizer(decoupled ? density::v1::TrainingOptions::ADAMW : density::v1::TrainingOptions::ADAM);
    options.set_weight_decay(0.1);
    const torch::Tensor values = torch::tensor({1.0, -2.0}, torch::kFloat64);
    Adam adam(values, options);
    std::vector<double> expected = {1, -2};
    std::vector<double> m = {0, 0};
    std::vector<double> v = {0, 0};
    for (int t = 1; t <= 2; ++t) {
      const std::vector<double> gradient = {0.5 * t, -0.25};
      adam.Step(torch::tensor(gradient, torch::kFloat64), 0.01);
      for (int i = 0; i < 2; ++i) {
        const double g = gradient[i] + (decoupled ? 0 : 0.1 * expected[i]);
        if (decoupled) expected[i] -= 0.01 * 0.1 * expected[i];
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.999 * v[i] + 0.001 * g * g;
        expected[i] -= 0.01 * (m[i] / (1 - std::pow(0.9, t))) / (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 1e-8);
      }
    }
    EXPECT_NEAR(values[0].item<double>(), expected[0], 1e-12) << decoupled;
    EXPECT_NEAR(values[1].item<double>(), expected[1], 1e-12) << decoupled;
  }
}

}  // namespace
}  // namespace densityd::training
