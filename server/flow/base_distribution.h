// Distributions of z.
#pragma once

#include <cstdint>
#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/linear_layer.h"
#include "server/flow/module.h"

namespace densityd::flow {

/// Distribution of z (N, D), optionally given a context (N, C). Differentiable; as thread-safe as a Transform.
class BaseDistribution : public Module {
 public:
  /// log p(z): (N), nats; -infinity where the density is zero.
  virtual Tensor LogProb(const Tensor& z, const Tensor& context) = 0;
  /// log p(z_j | the columns before j in `order`): (N, D), nats, each at its column's place. `order` (D), int64, are
  /// all columns, the first one first; where columns are independent it makes no difference.
  virtual Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) = 0;
  /// Independent standard-normal numbers (N, M) -> z (N, D), distributed as this distribution. M is
  /// NoiseColumns(spec, D) of spec.h. A row of z is a function of its row of noise (and of context) alone.
  virtual Tensor FromNoise(const Tensor& noise, const Tensor& context) = 0;
};

/// Registers what flow.h lists. Precondition: `spec` is checked and has its defaults.
std::shared_ptr<BaseDistribution> MakeBaseDistribution(const density::v1::BaseDistribution& spec, int64_t features,
                                                       int64_t context_features, Initializer& initializer);

}  // namespace densityd::flow
