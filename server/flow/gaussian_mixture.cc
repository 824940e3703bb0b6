#include "server/flow/gaussian_mixture.h"

#include <cmath>
#include <numbers>

#include "server/flow/elementary.h"

namespace densityd::flow {

GaussianMixture::GaussianMixture(const density::v1::GaussianMixture& spec, int64_t features, Initializer& initializer) {
  const int64_t components = spec.components();
  weights_ = register_parameter("weights", torch::zeros({components}, torch::kFloat64));
  means_ = register_parameter("means", initializer.Uniform({components, features}, 1));
  log_scales_ = register_parameter("log_scales", torch::zeros({components, features}, torch::kFloat64));
}

Tensor GaussianMixture::LogScales() const { return SoftBound(log_scales_, std::log(1e3)); }

Tensor GaussianMixture::LogProb(const Tensor& z, const Tensor& /*context*/) {
  const Tensor log_scales = LogScales();
  const Tensor standard = (z.unsqueeze(1) - means_) * (-log_scales).exp();  // (N, K, D)
  const Tensor log_normal = -0.5 * standard.square().sum(2) - log_scales.sum(1);
  const double log_norm = 0.5 * static_cast<double>(z.size(1)) * std::log(2 * std::numbers::pi);
  return (log_normal + weights_.log_softmax(0)).logsumexp(1) - log_norm;
}

Tensor GaussianMixture::LogProbByColumn(const Tensor& z, const Tensor& /*context*/, const Tensor& order) {
  const Tensor log_scales = LogScales();
  const Tensor standard = (z.unsqueeze(1) - means_) * (-log_scales).exp();  // (N, K, D)
  const Tensor log_normal = -0.5 * (standard.square() + std::log(2 * std::numbers::pi)) - log_scales;
  // Of the first columns of the order, for each number of them: the joint density is a mixture of the same weights.
  const Tensor log_weights = weights_.log_softmax(0).unsqueeze(1);
  const Tensor joint = (log_normal.index_select(2, order).cumsum(2) + log_weights).logsumexp(1);  // (N, D)
  const Tensor before = torch::constant_pad_nd(joint.narrow(1, 0, joint.size(1) - 1), {1, 0}, 0);
  return torch::zeros_like(z).index_copy(1, order, joint - before);
}

Tensor GaussianMixture::FromNoise(const Tensor& noise, const Tensor& /*context*/) {
  const int64_t features = means_.size(1);
  const Tensor uniform = torch::special_ndtr(noise.narrow(1, features, 1));
  const Tensor ends = weights_.softmax(0).cumsum(0).narrow(0, 0, weights_.size(0) - 1);
  const Tensor component = (uniform > ends).sum(1);
  const Tensor scale = LogScales().index_select(0, component).exp();
  return noise.narrow(1, 0, features) * scale + means_.index_select(0, component);
}

}  // namespace densityd::flow
