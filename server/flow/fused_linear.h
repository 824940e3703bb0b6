// A fully connected layer with its ReLU as one operation with a gradient of its own.
#pragma once

#include "torch/types.h"

namespace densityd::flow {

/// Where a weight W (outputs, inputs) may be other than zero. All undefined where W is dense.
struct WeightMask {
  torch::Tensor factors;     ///< (outputs, inputs): 1 there, else 0; as W is
  torch::Tensor of_outputs;  ///< (outputs, 2), int32 on the CPU: the range of inputs that holds an output's ones
  torch::Tensor of_inputs;   ///< (inputs, 2), int32 on the CPU: the range of outputs that holds an input's ones
};

/// Of `factors` (outputs, inputs).
WeightMask MakeWeightMask(const torch::Tensor& factors);

/// y = W x + b, or max(y, 0) where `relu`; x (N, inputs), y (N, outputs). The gradient of W is zero where it is masked.
/// In float32 on a CPU, products pass over most of a masked weight's zeros, bias and ReLU are part of the product, and
/// the bits do not depend on the number of threads; elsewhere, and for gradients of gradients, LibTorch computes.
/// Precondition: W is zero where it is masked.
torch::Tensor FusedLinear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                          const WeightMask& mask, bool relu);

}  // namespace densityd::flow
