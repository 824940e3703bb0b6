#include "tests/engine/train/gradient_reference.h"

#include <memory>

#include "gtest/gtest.h"
#include "server/engine/weights.h"
#include "server/flow/base_distribution.h"
#include "server/flow/flow.h"
#include "server/flow/transform.h"

namespace densityd::engine::train {

ReferenceGradient ComputeReference(const cpu::Model& model, int fixed_layers, const std::vector<float>& rows,
                                   NumberType precision) {
  const auto dtype = precision == NumberType::kFloat32 ? torch::kFloat32 : torch::kFloat64;
  const std::shared_ptr<flow::Flow> flow = *flow::BuildFlow(model.spec, 1);
  const absl::Status status = LoadWeights(*flow, model.tensors);
  EXPECT_TRUE(status.ok()) << status.ToString();
  flow->to(dtype);
  const int64_t features = model.spec.features();
  const int64_t context_features = model.spec.context_features();
  const torch::Tensor all = torch::tensor(rows, dtype).reshape({-1, features + context_features});
  const torch::Tensor context =
      context_features > 0 ? all.narrow(1, features, context_features).contiguous() : torch::Tensor();
  torch::Tensor z = all.narrow(1, 0, features).contiguous();
  torch::Tensor log = torch::zeros({z.size(0)}, dtype);
  const auto layers = flow->named_children()["layers"]->children();
  for (size_t i = static_cast<size_t>(fixed_layers); i < layers.size(); ++i) {
    const flow::Mapped mapped = dynamic_cast<flow::Transform&>(*layers[i]).Inverse(z, context);
    z = mapped.value;
    log = log + mapped.log_abs_det;
  }
  auto& base = dynamic_cast<flow::BaseDistribution&>(*flow->named_children()["base"]);
  const torch::Tensor loss = -(base.LogProb(z, context) + log).mean();
  loss.backward();
  ReferenceGradient reference;
  reference.loss = loss.item<double>();
  for (const auto& parameter : flow->named_parameters()) {
    const torch::Tensor& defined = parameter.value().grad();
    const torch::Tensor gradient =
        (defined.defined() ? defined : torch::zeros_like(parameter.value())).to(torch::kFloat64).contiguous();
    reference.by_tensor[parameter.key()] = {gradient.data_ptr<double>(),
                                            gradient.data_ptr<double>() + gradient.numel()};
  }
  return reference;
}

}  // namespace densityd::engine::train
