// Quantile transforms by the distribution function of a mixture.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/univariate.h"

namespace densityd::flow {

/// z = G^-1(sum_k w_k G((x - m_k) / s_k)), one or several times: marginal Gaussianization where G is the normal
/// distribution function (Meng et al. 2020, equation 6), the sigmoidal flow of NAF where it is the logistic one (Huang
/// et al. 2018, equation 8). Theta holds, for each of `layers`, K raw weights, K means and K log-scales: w =
/// softmax(raw), m_k = raw + its start, log s_k = c tanh(raw / c) + its start. The starts make a mixture of G's own
/// variance.
///
/// Computed in float64 whatever the type of the numbers, and from the tail that the number is in, so that z keeps its
/// digits where the distribution function is 1e-300 or 1 - 1e-300.
class MixtureCdf final : public Univariate {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  explicit MixtureCdf(const density::v1::MixtureCdf& spec);
  MappedColumns Forward(const Tensor& z, const Tensor& theta) const override;
  MappedColumns Inverse(const Tensor& x, const Tensor& theta) const override;

 private:
  struct Mixture;
  Mixture Layer(const Tensor& theta, int64_t layer) const;
  MappedColumns Gaussianize(const Tensor& x, const Mixture& mixture) const;

  const bool logistic_;
  const int64_t components_;
  const int64_t layers_;
  const double max_log_scale_;
  std::vector<double> mean_starts_;
};

}  // namespace densityd::flow
