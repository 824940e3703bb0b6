// A normalizing flow: a base distribution and a chain of transforms.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/flow_spec.pb.h"
#include "server/flow/base_distribution.h"
#include "server/flow/transform.h"

namespace densityd::flow {

/// log p(x) = log p_base(z) + log|det dz/dx| with (z, log|det dz/dx|) = Inverse(x), in nats.
/// Built in float64; `to(torch::kFloat32)` for training and serving. Not thread-safe while training; const use under
/// inference mode is.
class Flow : public torch::nn::Module {
 public:
  /// Layers in the spec's order: layers[0] touches the data.
  Flow(density::v1::FlowSpec spec, std::shared_ptr<BaseDistribution> base,
       std::vector<std::shared_ptr<Transform>> layers);

  /// log p(x | context) of x (N, D): (N), nats.
  Tensor LogProb(const Tensor& x, const Tensor& context);
  /// x -> z, log|det dz/dx|.
  Mapped Inverse(const Tensor& x, const Tensor& context);
  /// z -> x, log|det dx/dz|.
  Mapped Forward(const Tensor& z, const Tensor& context);
  /// Base noise from standard-normal numbers: (N, D) -> z (N, D) distributed as the base.
  Tensor BaseFromNormal(const Tensor& normal, const Tensor& context);
  /// log p_base(z): (N), nats.
  Tensor BaseLogProb(const Tensor& z, const Tensor& context);

  /// Initialises data-dependent layers from x (N, D), in the density direction. See Transform::InitializeFromData.
  void InitializeFromData(const Tensor& x, const Tensor& context);

  const density::v1::FlowSpec& spec() const { return spec_; }

 private:
  Tensor PrepareContext(const Tensor& context) const;

  density::v1::FlowSpec spec_;
  std::shared_ptr<BaseDistribution> base_;
  std::vector<std::shared_ptr<Transform>> layers_;
};

/// Builds the flow that `spec` describes, in float64, with initial weights drawn from `seed` (not from LibTorch's
/// global generator): the same spec and seed give the same weights. INVALID_ARGUMENT with the path of the field, as
/// CheckFlowSpec; also where a Standardize is not fitted.
absl::StatusOr<std::shared_ptr<Flow>> BuildFlow(const density::v1::FlowSpec& spec, uint64_t seed);

}  // namespace densityd::flow
