// Invertible maps, the parts that a flow is a chain of.
#pragma once

#include "torch/nn/module.h"
#include "torch/types.h"

namespace densityd::flow {

using torch::Tensor;

/// Mapped rows (N, D) and the log|det| of the map at each row (N), in nats.
struct Mapped {
  Tensor value;
  Tensor log_abs_det;
};

/// Invertible map between base space z (N, D) and data space x (N, D), optionally given a context (N, C).
/// Every method takes an undefined `context` where the flow has none. Differentiable. Not thread-safe while training;
/// const use under inference mode is.
class Transform : public torch::nn::Module {
 public:
  /// z -> x, log|det dx/dz|.
  virtual Mapped Forward(const Tensor& z, const Tensor& context) = 0;
  /// x -> z, log|det dz/dx|.
  virtual Mapped Inverse(const Tensor& x, const Tensor& context) = 0;

  /// Sets parameters that start from data (ActNorm), given the rows that reach this layer in the density direction.
  /// Called once, before the first step of a training, never when serving.
  virtual void InitializeFromData(const Tensor& /*x*/, const Tensor& /*context*/) {}
};

}  // namespace densityd::flow
