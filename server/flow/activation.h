// Activation functions of networks.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "torch/types.h"

namespace densityd::flow {

/// The activation of h, element by element. Precondition: a default was filled in.
torch::Tensor Activate(density::v1::Activation activation, const torch::Tensor& h);

/// An activation and its derivative. Both are differentiable.
struct Activated {
  torch::Tensor value;
  torch::Tensor slope;
};
Activated ActivateWithSlope(density::v1::Activation activation, const torch::Tensor& h);

}  // namespace densityd::flow
