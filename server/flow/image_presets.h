// The multi-scale models of images.
#pragma once

#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// Scales of a multi-scale model, L.
uint32_t PresetLevels(const density::v1::Preset& preset);

/// Integers 0 … 255 in every column, by their logit: what a preset of images starts with.
void AddPixels(uint32_t features, density::v1::FlowSpec& spec);

/// Glow (Kingma & Dhariwal 2018, figure 2): L times a squeeze, K steps (ActNorm, invertible convolution, affine
/// coupling of half of the channels), and, but for the last time, a split.
void AddGlow(const density::v1::Preset& preset, density::v1::FlowSpec& spec);

/// RealNVP of images (Dinh et al. 2017, section 3.6): L - 1 times K affine couplings, the first half of them with
/// checkerboard masks, a squeeze, the others with masks of channels, and a split; at the end K couplings with
/// checkerboard masks. An ActNorm before each coupling takes the place of the paper's batch normalisation.
void AddRealNvpImage(const density::v1::Preset& preset, density::v1::FlowSpec& spec);

}  // namespace densityd::flow
