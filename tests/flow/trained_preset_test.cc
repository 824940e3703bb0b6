// Each preset learns a density whose entropy is known: nothing that a flow computes can be better, and little is worse.
#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/preset_names.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"
#include "torch/nn/utils/clip_grad.h"
#include "torch/optim/adam.h"

namespace densityd::flow {
namespace {

using torch::Tensor;

const double kNormalEntropy = 0.5 * std::log(2 * M_PI * M_E);

/// A density of D columns: rows (N, D) of it by a seed, and -E[log p], nats.
struct Known {
  Tensor (*draw)(int64_t rows, uint64_t seed);
  double entropy;
  uint32_t features = 2;
};

/// x0 ~ N(0, 1), x1 ~ N(f(x0), deviation^2).
Tensor Around(const Tensor& normal, Tensor (*f)(const Tensor&), double deviation) {
  const Tensor first = normal.select(1, 0);
  return torch::stack({first, f(first) + deviation * normal.select(1, 1)}, 1);
}

Tensor WaveOf(const Tensor& normal) {
  return Around(
      normal, [](const Tensor& x) { return (2 * x).sin(); }, 0.3);
}

const Known kWave = {[](int64_t rows, uint64_t seed) {
                       return WaveOf(Normal({rows, 2}, seed));
                     },
                     2 * kNormalEntropy + std::log(0.3)};

/// What one bend of the plane can do.
const Known kBend = {[](int64_t rows, uint64_t seed) {
                       return Around(
                           Normal({rows, 2}, seed), [](const Tensor& x) { return torch::tanh(x); }, 0.5);
                     },
                     2 * kNormalEntropy + std::log(0.5)};

const Known kCorrelated = {[](int64_t rows, uint64_t seed) {
                             return Around(
                                 Normal({rows, 2}, seed), [](const Tensor& x) { return 3 * x + 1; }, 0.5);
                           },
                           2 * kNormalEntropy + std::log(0.5)};

const Known kIndependent = {[](int64_t rows, uint64_t seed) {
                              return Normal({rows, 2}, seed) * torch::tensor({0.1, 7.0}, torch::kFloat64) + 3;
                            },
                            2 * kNormalEntropy + std::log(0.7)};

/// x0 is uniform on the circle, x1 ~ N(2 sin x0, 0.35^2), wrapped.
const Known kTorus = {[](int64_t rows, uint64_t seed) {
                        const Tensor normal = Normal({rows, 2}, seed);
                        const Tensor first = M_PI * torch::erf(normal.select(1, 0) / std::sqrt(2));
                        const Tensor second = 2 * first.sin() + 0.35 * normal.select(1, 1);
                        return torch::stack({first, torch::remainder(second + M_PI, 2 * M_PI) - M_PI}, 1);
                      },
                      std::log(2 * M_PI) + kNormalEntropy + std::log(0.35)};

/// Four pixels: two waves.
const Known kTwoWaves = {[](int64_t rows, uint64_t seed) {
                           const Tensor normal = Normal({rows, 4}, seed);
                           return torch::cat({WaveOf(normal.narrow(1, 0, 2)), WaveOf(normal.narrow(1, 2, 2))}, 1);
                         },
                         4 * kNormalEntropy + 2 * std::log(0.3), 4};

struct Training {
  std::string preset;
  int steps;
  std::string options = "transforms: 3 hidden: [32, 32] activation: TANH";
  Known truth = kWave;
  int rows = 256;  // of a step
  double rate = 5e-3;
};

void PrintTo(const Training& training, std::ostream* out) { *out << training.preset; }

class TrainedPresetTest : public testing::TestWithParam<Training> {};

TEST_P(TrainedPresetTest, ComesWithinFiveHundredthsOfANatOfTheEntropy) {
  const Known& truth = GetParam().truth;
  density::v1::Preset preset;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().options, &preset));
  preset.set_name(GetParam().preset);
  // Flow matching draws noise from LibTorch's generator.
  at::manual_seed(1);
  const auto spec = ExpandPreset(preset, truth.features, 0);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto fitted = FitStandardize(*spec, truth.draw(5000, 1), Tensor());
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  const auto flow = Build(*fitted);
  flow->InitializeFromData(truth.draw(5000, 1), Tensor());
  flow->to(torch::kFloat32);
  torch::optim::Adam optimizer(flow->parameters(), torch::optim::AdamOptions(GetParam().rate));
  for (int step = 0; step < GetParam().steps; ++step) {
    static_cast<torch::optim::AdamOptions&>(optimizer.param_groups()[0].options())
        .lr(GetParam().rate * 0.5 * (1 + std::cos(M_PI * step / GetParam().steps)));
    optimizer.zero_grad();
    flow->TrainingLoss(truth.draw(GetParam().rows, 100 + step).to(torch::kFloat32), Tensor()).mean().backward();
    torch::nn::utils::clip_grad_norm_(flow->parameters(), 5);
    optimizer.step();
  }
  flow->to(torch::kFloat64);
  flow->eval();
  const torch::NoGradGuard no_grad;
  const double cross_entropy = -flow->LogProb(truth.draw(50000, 2), Tensor()).mean().item<double>();
  EXPECT_NEAR(cross_entropy, truth.entropy, 0.05);
}

const std::string kTwoTransforms = "transforms: 2 hidden: [32, 32] activation: TANH";

const Training kTrainings[] = {
    {"affine", 300, "", kCorrelated, 256, 2e-2},
    {"elementwise", 300, "", kIndependent, 256, 2e-2},
    {"nice", 600},
    {"realnvp", 600},
    {"maf", 600},
    {"iaf", 600},
    {"nsf_coupling", 300, kTwoTransforms},
    {"nsf_ar", 300, kTwoTransforms},
    {"circular_nsf", 300, kTwoTransforms, kTorus},
    {"naf", 300, kTwoTransforms},
    {"gaussianization", 600, "transforms: 6", kWave, 256, 2e-2},
    {"planar", 800, "transforms: 8", kBend, 256, 2e-2},
    {"radial", 800, "transforms: 16", kBend, 256, 2e-2},
    {"sylvester", 800, "transforms: 8", kWave, 256, 2e-2},
    {"residual", 800, "transforms: 8 hidden: [32, 32] actnorm: true", kWave, 256, 2e-2},
    {"ffjord", 200, "hidden: [32, 32] activation: SILU continuous_options { rtol: 1e-3 atol: 1e-3 }", kWave, 256, 2e-2},
    {"flow_matching", 5000, "hidden: [64, 64] activation: SILU", kWave, 1024, 2e-2},
    {"glow", 300, "levels: 1 transforms: 6 hidden: [16] no_standardize: true image { channels: 1 height: 2 width: 2 }",
     kTwoWaves, 256, 1e-2},
    {"realnvp_image", 300,
     "levels: 1 transforms: 6 hidden: [16] no_standardize: true image { channels: 1 height: 1 width: 2 }", kWave, 256,
     1e-2},
};

INSTANTIATE_TEST_SUITE_P(Presets, TrainedPresetTest, testing::ValuesIn(kTrainings),
                         [](const auto& info) { return info.param.preset; });

TEST(TrainedPreset, NoneIsForgotten) {
  std::vector<std::string> names;
  for (const Training& training : kTrainings) names.push_back(training.preset);
  EXPECT_THAT(names, testing::UnorderedElementsAreArray(PresetNames()));
}

}  // namespace
}  // namespace densityd::flow
