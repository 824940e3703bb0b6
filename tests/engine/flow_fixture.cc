#include "tests/engine/flow_fixture.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "server/engine/philox.h"
#include "server/engine/weights.h"
#include "server/flow/spec.h"

namespace densityd::engine {
namespace {

void Fit(density::v1::Standardize& standardize, uint32_t columns) {
  const auto& unchanged = standardize.unchanged();
  for (uint32_t column = 0; column < columns; ++column) {
    const bool is_unchanged = std::find(unchanged.begin(), unchanged.end(), column) != unchanged.end();
    standardize.add_mean(is_unchanged ? 0 : 0.5 * column - 1);
    standardize.add_scale(is_unchanged ? 1 : 1 + 0.25 * column);
  }
}

/// Adds noise to every weight: a new flow is the identity, which would hide mistakes.
void Perturb(flow::Flow& flow, uint64_t seed) {
  torch::NoGradGuard no_grad;
  uint64_t row = 0;
  for (const auto& parameter : flow.named_parameters()) {
    torch::Tensor noise = torch::empty(parameter.value().sizes(), torch::kFloat64);
    FillStandardNormal(seed, row++, 1, static_cast<size_t>(noise.numel()), noise.data_ptr<double>());
    torch::Tensor weight = parameter.value();
    weight.add_(noise, 0.15);
  }
}

density::v1::Preset SmallImagePreset(const std::string& name) {
  density::v1::Preset preset;
  preset.set_name(name);
  preset.set_no_standardize(true);
  preset.set_transforms(2);
  preset.set_levels(2);
  preset.add_hidden(6);
  preset.set_residual_blocks(1);
  preset.mutable_image()->set_channels(1);
  preset.mutable_image()->set_height(4);
  preset.mutable_image()->set_width(4);
  return preset;
}

}  // namespace

StoredFlow MakeStoredFlow(const density::v1::Preset& preset, uint32_t features, uint32_t context_features,
                          uint64_t seed) {
  StoredFlow stored;
  auto spec = flow::ExpandPreset(preset, features, context_features);
  EXPECT_TRUE(spec.ok()) << spec.status();
  stored.spec = *std::move(spec);
  for (auto& layer : *stored.spec.mutable_layers()) {
    if (layer.has_standardize()) Fit(*layer.mutable_standardize(), features);
  }
  if (stored.spec.has_context_preprocessing()) {
    Fit(*stored.spec.mutable_context_preprocessing(), context_features);
  }
  auto flow = flow::BuildFlow(stored.spec, seed);
  EXPECT_TRUE(flow.ok()) << flow.status();
  stored.flow = *std::move(flow);
  stored.flow->eval();
  Perturb(*stored.flow, seed);
  auto tensors = FlowToTensors(*stored.flow);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
  stored.tensors = *std::move(tensors);
  return stored;
}

density::v1::Preset SmallPreset(const std::string& name) {
  density::v1::Preset preset;
  preset.set_name("affine");
  if (name == "student_t_base") {
    preset.mutable_base()->mutable_student_t();
    return preset;
  }
  if (name == "mixture_base") {
    preset.mutable_base()->mutable_gaussian_mixture();
    return preset;
  }
  if (name == "product_base") {
    auto& product = *preset.mutable_base()->mutable_product();
    auto& tails = *product.add_groups();
    for (uint32_t column : {4, 0}) tails.add_columns(column);
    tails.mutable_base()->mutable_student_t();
    auto& modes = *product.add_groups();
    for (uint32_t column : {1, 3, 2}) modes.add_columns(column);
    modes.mutable_base()->mutable_gaussian_mixture();
    return preset;
  }
  preset.set_name(name);
  if (name == "glow" || name == "realnvp_image") return SmallImagePreset(name);
  if (name != "affine" && name != "elementwise") {
    // One layer is all that flow matching trains.
    if (name != "flow_matching") preset.set_transforms(3);
    // Sylvester flows have no network.
    if (name != "sylvester") preset.mutable_hidden()->Resize(2, 16);
    // Circles have a base of their own, and flow matching learns none.
    if (name != "circular_nsf" && name != "flow_matching") preset.set_learnt_base(true);
  }
  if (name == "ffjord" || name == "flow_matching") {
    // So that the two directions, and float64 plans, agree to the last digits.
    preset.mutable_continuous_options()->set_atol(1e-12);
    preset.mutable_continuous_options()->set_rtol(1e-12);
  }
  return preset;
}

}  // namespace densityd::engine
