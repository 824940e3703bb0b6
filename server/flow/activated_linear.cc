#include "server/flow/activated_linear.h"

#include "server/flow/activation.h"

namespace densityd::flow {

using density::v1::Activation;

ActivatedLinear::ActivatedLinear(const Units& from, const Units& to, Start start, Initializer& initializer)
    : LinearLayer(from, to, start, initializer), bias_(named_parameters(/*recurse=*/false)["bias"]) {}

Tensor ActivatedLinear::Apply(const Tensor& x, Activation activation) const {
  const bool relu = activation == density::v1::RELU || activation == density::v1::ACTIVATION_UNSPECIFIED;
  if (is_fused_ && relu) return FusedLinear(x, weight(), bias_, weight_mask_, /*relu=*/true);
  return Activate(activation, Apply(x));
}

Tensor ActivatedLinear::Apply(const Tensor& x) const {
  return is_fused_ ? FusedLinear(x, weight(), bias_, weight_mask_, /*relu=*/false) : LinearLayer::Apply(x);
}

void ActivatedLinear::PrepareForTraining() {
  is_fused_ = true;
  if (!mask().defined()) return;
  const torch::NoGradGuard no_grad;
  Tensor values = weight();
  values.mul_(mask());
  weight_mask_ = MakeWeightMask(mask());
}

void PrepareForTraining(const torch::nn::Module& module) {
  for (const auto& part : module.modules()) {
    if (auto* layer = dynamic_cast<ActivatedLinear*>(part.get()); layer != nullptr) layer->PrepareForTraining();
  }
}

}  // namespace densityd::flow
