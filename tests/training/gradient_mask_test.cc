#include "server/training/gradient_mask.h"

#include <gtest/gtest.h>

#include "server/flow/flow.h"
#include "server/flow/spec.h"
#include "server/training/adam.h"

namespace densityd::training {
namespace {

std::shared_ptr<flow::Flow> MakeFlow(const char* name) {
  density::v1::Preset preset;
  preset.set_name(name);
  preset.set_transforms(2);
  preset.add_hidden(8);
  preset.add_hidden(8);
  preset.set_no_standardize(true);
  auto flow = flow::BuildFlow(flow::ExpandPreset(preset, 3, 0).value(), /*seed=*/1).value();
  flow->to(torch::kFloat32);
  return flow;
}

torch::Tensor Gradients(flow::Flow& flow, const FlatParameters& parameters) {
  parameters.gradients().zero_();
  const torch::Tensor x = torch::arange(15, torch::kFloat32).view({5, 3}).sin();
  flow.LogProb(x, torch::Tensor()).mean().neg().backward();
  return parameters.gradients().clone();
}

TEST(GradientMaskTest, GivesTheGradientsThatMaskedWeightsHave) {
  const auto flow = MakeFlow("maf");
  const FlatParameters parameters(*flow);
  {
    const torch::NoGradGuard no_grad;
    // Last layers start at zero, behind which gradients would vanish; and what is masked may be anything.
    parameters.values().add_(0.1);
  }
  const torch::Tensor expected = Gradients(*flow, parameters);
  const torch::Tensor mask = MaskInGradients(*flow, parameters);
  ASSERT_TRUE(mask.defined());
  EXPECT_GT((mask == 0).sum().item<int64_t>(), 0);
  EXPECT_TRUE(torch::equal(Gradients(*flow, parameters) * mask, expected));
}

TEST(GradientMaskTest, OptimisersLeaveTheZerosAlone) {
  const auto flow = MakeFlow("maf");
  const FlatParameters parameters(*flow);
  const torch::Tensor mask = MaskInGradients(*flow, parameters);
  density::v1::TrainingOptions options;
  options.set_optimizer(density::v1::TrainingOptions::ADAMW);
  options.set_weight_decay(0.1);
  Adam adam(parameters.values(), options);
  for (int step = 0; step < 3; ++step) adam.Step(Gradients(*flow, parameters) * mask, /*learning_rate=*/0.1);
  EXPECT_EQ((parameters.values() * (1 - mask)).abs().max().item<float>(), 0);
}

TEST(GradientMaskTest, AFlowWithoutMasksNeedsNone) {
  const auto flow = MakeFlow("realnvp");
  EXPECT_FALSE(MaskInGradients(*flow, FlatParameters(*flow)).defined());
}

}  // namespace
}  // namespace densityd::training
