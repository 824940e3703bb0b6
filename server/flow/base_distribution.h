// Distributions of z.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/module.h"

namespace densityd::flow {

/// Distribution of z (N, D), optionally given a context (N, C). Differentiable; as thread-safe as a Transform.
class BaseDistribution : public Module {
 public:
  /// log p(z): (N), nats.
  virtual Tensor LogProb(const Tensor& z, const Tensor& context) = 0;
  /// Standard-normal numbers (N, D) -> z (N, D), distributed as this distribution.
  virtual Tensor FromNormal(const Tensor& normal, const Tensor& context) = 0;
};

/// A standard normal registers nothing; a diagonal normal registers `mean` (D) and `log_scale` (D), raw: log sigma =
/// c tanh(raw / c), c = log 1000. Precondition: `spec` is checked and has its defaults.
std::shared_ptr<BaseDistribution> MakeBaseDistribution(const density::v1::BaseDistribution& spec, int64_t features);

}  // namespace densityd::flow
