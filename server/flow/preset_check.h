// Checks of a preset's options, before it is expanded.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// Which options mean something to a preset.
struct PresetTraits {
  bool has_network = true;              ///< hidden, activation
  bool has_blocks = true;               ///< residual, residual_blocks, dropout
  bool has_transforms = true;           ///< transforms
  bool has_mixing = true;               ///< mixing, actnorm
  bool has_order = false;               ///< mixing SAME_ORDER
  bool has_base = true;                 ///< base, learnt_base
  bool has_splines = false;             ///< bins
  bool has_bound = false;               ///< bound
  bool has_passed = false;              ///< spline_of_passed
  bool has_circles = false;             ///< circular
  bool has_components = false;          ///< components
  bool has_rank = false;                ///< rank
  bool has_residual_options = false;    ///< residual_options
  bool has_continuous_options = false;  ///< continuous_options
  bool has_image = false;               ///< image, levels; networks of convolutions
  int squeezes = 0;                     ///< of an image: as many as levels, and this
  uint32_t min_features = 1;
};

/// INVALID_ARGUMENT naming "preset.<option>" for an option that is out of range or means nothing to the preset.
absl::Status CheckPreset(const density::v1::Preset& preset, const PresetTraits& traits, uint32_t features);

}  // namespace densityd::flow
