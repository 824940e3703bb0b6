// Folds neighbouring affine layers into one, in float64.
#pragma once

#include <vector>

#include "server/engine/cpu/lowered.h"

namespace densityd::engine::cpu {

/// The same map with fewer layers: diagonal layers, matrices and permutations that meet become one. A diagonal layer
/// that touches the data stays apart from a matrix behind it: subtracting the mean first keeps the digits of data that
/// lies far from zero.
std::vector<LoweredLayer> FoldAffineLayers(std::vector<LoweredLayer> layers);

}  // namespace densityd::engine::cpu
