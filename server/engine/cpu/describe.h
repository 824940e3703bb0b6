// Lowered layers and programs, told to people.
#pragma once

#include "server/engine/cpu/lowered.h"
#include "server/engine/cpu/program.h"
#include "server/engine/description.h"

namespace densityd::engine::cpu {

/// What a layer is, for the program whose steps it is turned into.
ProgramLayer NameLayer(const LoweredLayer& layer);

/// Appends the layers of `program` that have steps, with their work per row of a full tile and their weights in its
/// layout.
void Describe(const Program& program, PlanDescription& to);

/// What the base distribution's program is: all of its steps.
ProgramLayer NameBase(const LoweredFlow& flow);

}  // namespace densityd::engine::cpu
