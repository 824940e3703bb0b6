// Masked weights that stay masked because their gradients are.
#pragma once

#include "server/flow/flow.h"
#include "server/training/flat_parameters.h"
#include "torch/types.h"

namespace densityd::training {

/// Sets what the masked layers of `flow` mask to zero in `parameters`, which are the flow's, and makes the layers rely
/// on that. The caller multiplies every gradient with the result (P'), laid out as parameters.values(), before it takes
/// a step; optimisers then leave those zeros alone. Undefined where nothing is masked.
torch::Tensor MaskInGradients(flow::Flow& flow, const FlatParameters& parameters);

}  // namespace densityd::training
