// A mixture of normal distributions as a base: several modes, which no continuous map can make of one without filaments
// between them.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/base_distribution.h"

namespace densityd::flow {

/// p(z) = sum_k w_k N(z; mu_k, diag(sigma_k^2)). Registers `weights` (K), whose softmax is w; `means` (K, D); and
/// `log_scales` (K, D), raw: log sigma = c tanh(raw / c), c = log 1000.
///
/// Samples take D + 1 normal numbers; the last one, as a uniform number, chooses the component.
class GaussianMixture final : public BaseDistribution {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  GaussianMixture(const density::v1::GaussianMixture& spec, int64_t features, Initializer& initializer);
  Tensor LogProb(const Tensor& z, const Tensor& context) override;
  Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) override;
  /// Not differentiable by `weights`.
  Tensor FromNoise(const Tensor& noise, const Tensor& context) override;

 private:
  Tensor LogScales() const;

  Tensor weights_;
  Tensor means_;
  Tensor log_scales_;
};

}  // namespace densityd::flow
