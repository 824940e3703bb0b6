// Gradients by LibTorch's autograd.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "server/base/matrix.h"
#include "tests/engine/cpu/models.h"

namespace densityd::engine::train {

/// Mean of -log p, without the log|det| of the first `fixed_layers` layers, and its gradient by each parameter.
struct ReferenceGradient {
  double loss = 0;
  std::map<std::string, std::vector<double>> by_tensor;
};

/// Of `rows` (N, D + C) as those layers and the preparation of the context leave them, computed in `precision`.
ReferenceGradient ComputeReference(const cpu::Model& model, int fixed_layers, const std::vector<float>& rows,
                                   NumberType precision);

}  // namespace densityd::engine::train
