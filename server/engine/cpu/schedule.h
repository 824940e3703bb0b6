// Turns a lowered flow into programs: one per direction and layout.
#pragma once

#include <vector>

#include "server/engine/cpu/builder.h"
#include "server/engine/cpu/lowered.h"
#include "server/engine/cpu/program.h"

namespace densityd::engine::cpu {

/// Which way rows go.
enum class Direction { kInverse, kForward };

/// The map of `flow` in a direction, with log|det| of that direction; its weights are appended to `weights`.
Program MakeProgram(const LoweredFlow& flow, Direction direction, Layout layout, PackedWeights& weights);

/// Goes on where an inverse program ended, with z in the columns `z`: log becomes log p(x), nats.
Program MakeBaseDensity(const LoweredFlow& flow, const std::vector<Column>& z);

/// Comes before a forward program: standard normal numbers in the columns `z` become a sample of the base, and log its
/// negative log-density, so that the forward program ends with -log p(x).
Program MakeBaseSample(const LoweredFlow& flow, const std::vector<Column>& z);

}  // namespace densityd::engine::cpu
