// A normalizing flow: a base distribution and a chain of transforms.
//
// Names of the tensors, which stored models carry (spec.h, FlowTensors, lists them for a spec). `layers.<i>` is the
// i-th layer of the spec, counted from the data:
//
//   base.mean, base.log_scale                    diagonal normal
//   base.degrees                                 Student's t
//   base.weights, .means, .log_scales            Gaussian mixture
//   base.conditioner.…                           conditional diagonal normal: as a layer's
//   base.groups.<g>.…                            product: as the base of group g
//   layers.<i>.theta                             elementwise without a conditioner
//   layers.<i>.passed_theta                      coupling that maps the columns of mask 0, too
//   layers.<i>.conditioner.<k>.weight, .bias     k-th linear layer of an MLP
//   layers.<i>.conditioner.input.weight, .bias   residual MLP, and residual network of convolutions: first layer,
//     …conditioner.blocks.<b>.0.weight, .bias      the two layers of block b,
//     …conditioner.blocks.<b>.1.weight, .bias
//     …conditioner.output.weight, .bias            last layer
//   layers.<i>.lu, .bias                         LU linear; without bias invertible convolution
//   layers.<i>.log_scale, .shift, .initialized   ActNorm; `initialized` is a buffer
//   layers.<i>.lower, .shift                     full affine
//   layers.<i>.vectors                           Householder
//   layers.<i>.skew                              orthogonal
//   layers.<i>.parameters.theta, .conditioner.…  planar, radial
//   layers.<i>.vectors, .r1, .r2, .bias          Sylvester
//   layers.<i>.network.<k>.weight, .bias         residual: before the division by the spectral norm; continuous: inputs
//                                                are the columns, the time, the context
//   context_encoding.<j>.embedding, .missing     column j of an encoded context (context_encoding.h)
//
// What they mean is said where they are registered. Weights are (outputs, inputs): the columns' inputs (the cosine of a
// circular column), then the sines of circular columns, then the context's. Masks,
// orders and standardisation constants are not stored: they follow from the spec.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/flow_spec.pb.h"
#include "server/flow/base_distribution.h"
#include "server/flow/context_encoding.h"
#include "server/flow/transform.h"

namespace densityd::flow {

/// log p(x) = log p_base(z) + log|det dz/dx| with (z, log|det dz/dx|) = Inverse(x), in nats.
/// Built in float64; `to(torch::kFloat32)` for training and serving. Not thread-safe while training; const use under
/// inference mode is. Rows and context are of the flow's dtype; where layer 0 preprocesses, x may be of any floating
/// dtype, and so may a standardised or encoded context: what is in float64 is centred and scaled before it is rounded.
class Flow : public Module {
 public:
  /// Layers in the spec's order: layers[0] touches the data. `context_preprocessing` and `context_encoding`, one of
  /// which at most there is, may be null.
  Flow(density::v1::FlowSpec spec, std::shared_ptr<BaseDistribution> base,
       std::vector<std::shared_ptr<Transform>> layers, std::shared_ptr<Transform> context_preprocessing,
       std::shared_ptr<ContextEncoding> context_encoding);

  /// log p(x | context) of x (N, D): (N), nats. -infinity, never NaN, where a layer is not defined at x.
  Tensor LogProb(const Tensor& x, const Tensor& context);
  /// The terms of the chain rule: log p(x_j | columns before x_j, context), (N, D), nats, in the data's order of
  /// columns. A row's add up to log p(x). Precondition: ChainOrderOf(spec()).exists().
  Tensor LogProbByColumn(const Tensor& x, const Tensor& context);
  /// log p(x | context), (N), and how far it may be off where layers estimate log|det| with random probes: the standard
  /// deviation (N, 1) over kProbeDraws (spec.h) draws of the probes, the flow's own among them. In evaluation mode.
  Mapped LogProbWithError(const Tensor& x, const Tensor& context);
  /// What a training minimises the mean of, for each row of x (N, D): (N). -log p(x | context) and what layers add to
  /// it; for a layer that is trained by flow matching, its error at noise drawn from LibTorch's global generator. In
  /// training mode.
  Tensor TrainingLoss(const Tensor& x, const Tensor& context);
  /// x -> z, log|det dz/dx|.
  Mapped Inverse(const Tensor& x, const Tensor& context);
  /// z -> x, log|det dx/dz|.
  Mapped Forward(const Tensor& z, const Tensor& context);
  /// Standard-normal numbers (N, M) -> z (N, D) distributed as the base, a function of each row alone. M is
  /// NoiseColumns of spec.h.
  Tensor BaseFromNoise(const Tensor& noise, const Tensor& context);
  /// log p_base(z): (N), nats.
  Tensor BaseLogProb(const Tensor& z, const Tensor& context);

  /// Initialises data-dependent layers from x (N, D), in the density direction. See Transform::InitializeFromData.
  void InitializeFromData(const Tensor& x, const Tensor& context);

  /// The context as layers and base see it.
  Tensor PrepareContext(const Tensor& context) const;

  const density::v1::FlowSpec& spec() const { return spec_; }

 private:
  Mapped InverseOfPrepared(const Tensor& x, const Tensor& prepared);
  // Of layer `index`, the only learnt one.
  Tensor MatchingLoss(size_t index, const Tensor& x, const Tensor& context);

  density::v1::FlowSpec spec_;
  std::shared_ptr<BaseDistribution> base_;
  std::vector<std::shared_ptr<Transform>> layers_;
  std::shared_ptr<Transform> context_preprocessing_;
  std::shared_ptr<ContextEncoding> context_encoding_;
};

/// Builds the flow that `spec` describes, in float64, with initial weights drawn from `seed` (not from LibTorch's
/// global generator): the same spec and seed give the same weights. The new flow's learnt layers are the identity.
/// INVALID_ARGUMENT with the path of the field, as CheckFlowSpec; also where a Standardize is not fitted.
/// RESOURCE_EXHAUSTED where memory is short.
absl::StatusOr<std::shared_ptr<Flow>> BuildFlow(const density::v1::FlowSpec& spec, uint64_t seed);

/// Fills in every empty mean and scale of `spec` with those of the rows x (N, D) as they reach that layer in the
/// density direction, and of the context (N, C), or undefined. INVALID_ARGUMENT as CheckFlowSpec; for a column that is
/// constant there ("spec.layers[1].standardize: column 3 is constant"); and for a row that an earlier layer is not
/// defined at.
absl::StatusOr<density::v1::FlowSpec> FitStandardize(density::v1::FlowSpec spec, const Tensor& x,
                                                     const Tensor& context);

}  // namespace densityd::flow
