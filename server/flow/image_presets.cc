#include "server/flow/image_presets.h"

namespace densityd::flow {
namespace {

using density::v1::ColumnPreprocessing;
using density::v1::Conditioner;
using density::v1::FlowSpec;
using density::v1::Mask;
using density::v1::Permutation;
using density::v1::Preset;

constexpr uint32_t kDefaultLevels = 2;
constexpr uint32_t kDefaultSteps = 8;
constexpr double kWhite = 255;

uint32_t Steps(const Preset& preset) { return preset.has_transforms() ? preset.transforms() : kDefaultSteps; }

Conditioner Network(const Preset& preset) {
  Conditioner conditioner;
  auto& network = *conditioner.mutable_conv_resnet();
  if (!preset.hidden().empty()) network.set_channels(preset.hidden(0));
  network.set_blocks(preset.residual_blocks());
  network.set_activation(preset.activation());
  return conditioner;
}

void AddChannelNorm(FlowSpec& spec) { spec.add_layers()->mutable_actnorm()->set_per_channel(true); }

void AddCoupling(const Preset& preset, Mask::Pattern mask, FlowSpec& spec) {
  auto& coupling = *spec.add_layers()->mutable_coupling();
  coupling.mutable_mask()->set_pattern(mask);
  coupling.mutable_univariate()->mutable_affine();
  *coupling.mutable_conditioner() = Network(preset);
}

void AddSplit(const Preset& preset, FlowSpec& spec) {
  *spec.add_layers()->mutable_split()->mutable_conditioner() = Network(preset);
}

// `count` couplings whose masks take turns.
void AddTurns(const Preset& preset, uint32_t count, Mask::Pattern first, Mask::Pattern second, FlowSpec& spec) {
  for (uint32_t i = 0; i < count; ++i) {
    AddChannelNorm(spec);
    AddCoupling(preset, i % 2 == 0 ? first : second, spec);
  }
}

}  // namespace

uint32_t PresetLevels(const Preset& preset) { return preset.has_levels() ? preset.levels() : kDefaultLevels; }

void AddPixels(uint32_t features, FlowSpec& spec) {
  auto& preprocessing = *spec.add_layers()->mutable_preprocessing();
  for (uint32_t i = 0; i < features; ++i) {
    auto& column = *preprocessing.add_columns();
    column.set_kind(ColumnPreprocessing::INTEGER);
    column.set_scaling(ColumnPreprocessing::LOGIT);
    column.set_low(0);
    column.set_high(kWhite);
  }
}

void AddGlow(const Preset& preset, FlowSpec& spec) {
  const uint32_t levels = PresetLevels(preset);
  uint64_t step = 0;
  for (uint32_t level = 0; level < levels; ++level) {
    if (level > 0) AddSplit(preset, spec);
    spec.add_layers()->mutable_squeeze();
    for (uint32_t i = 0; i < Steps(preset); ++i) {
      AddChannelNorm(spec);
      auto& order = *spec.add_layers()->mutable_invertible_convolution()->mutable_permutation();
      order.set_kind(Permutation::RANDOM);
      order.set_seed(preset.seed() + step++);
      AddCoupling(preset, Mask::LAST_CHANNELS, spec);
    }
  }
}

void AddRealNvpImage(const Preset& preset, FlowSpec& spec) {
  const uint32_t levels = PresetLevels(preset);
  const uint32_t steps = Steps(preset);
  for (uint32_t level = 1; level < levels; ++level) {
    AddTurns(preset, steps - steps / 2, Mask::CHECKERBOARD_ODD, Mask::CHECKERBOARD_EVEN, spec);
    spec.add_layers()->mutable_squeeze();
    AddTurns(preset, steps / 2, Mask::LAST_CHANNELS, Mask::FIRST_CHANNELS, spec);
    AddSplit(preset, spec);
  }
  AddTurns(preset, steps, Mask::CHECKERBOARD_ODD, Mask::CHECKERBOARD_EVEN, spec);
}

}  // namespace densityd::flow
