// A fully connected layer of a network with the activation that follows it.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/fused_linear.h"
#include "server/flow/linear_layer.h"

namespace densityd::flow {

/// act(W x + b). Registers what a LinearLayer does.
class ActivatedLinear final : public LinearLayer {
 public:
  ActivatedLinear(const Units& from, const Units& to, Start start, Initializer& initializer);

  /// x (N, inputs) -> act(W x + b).
  Tensor Apply(const Tensor& x, density::v1::Activation activation) const;
  /// x (N, inputs) -> W x + b.
  Tensor Apply(const Tensor& x) const;

  /// From now on Apply is one operation (fused_linear.h), which relies on masked entries of the weight being zero and
  /// gives them no gradient: whoever changes the weight keeps them so. Sets them to zero first.
  void PrepareForTraining();

 private:
  const Tensor bias_;
  bool is_fused_ = false;
  WeightMask weight_mask_;
};

/// Prepares every layer of this kind within `module`, which makes its passes faster on the device that it is on.
void PrepareForTraining(const torch::nn::Module& module);

}  // namespace densityd::flow
