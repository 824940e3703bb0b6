#include "server/training/gradient_mask.h"

#include "server/flow/linear_layer.h"

namespace densityd::training {

torch::Tensor MaskInGradients(flow::Flow& flow, const FlatParameters& parameters) {
  const torch::NoGradGuard no_grad;
  torch::Tensor mask;
  for (const auto& module : flow.modules()) {
    auto* layer = dynamic_cast<flow::LinearLayer*>(module.get());
    if (layer == nullptr || !layer->mask().defined()) continue;
    if (!mask.defined()) mask = torch::ones_like(parameters.values());
    const torch::Tensor& weight = layer->weight();
    mask.narrow(0, weight.storage_offset(), weight.numel()).view(weight.sizes()).copy_(layer->mask());
    layer->RelyOnMaskedWeight();
  }
  torch::Tensor values = parameters.values();
  if (mask.defined()) values.mul_(mask);
  return mask;
}

}  // namespace densityd::training
