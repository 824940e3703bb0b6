// Checks of a preset's options, before it is expanded.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// Which options mean something to a preset.
struct PresetTraits {
  bool has_network = true;     ///< hidden, activation, residual, residual_blocks, dropout
  bool has_transforms = true;  ///< transforms, mixing, actnorm
  bool has_splines = false;    ///< bins, bound
  uint32_t min_features = 1;
};

/// INVALID_ARGUMENT naming "preset.<option>" for an option that is out of range or means nothing to the preset.
absl::Status CheckPreset(const density::v1::Preset& preset, const PresetTraits& traits, uint32_t features);

}  // namespace densityd::flow
