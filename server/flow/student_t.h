// Student's t as a base distribution: tails that fall like a power (Jaini et al. 2020, "Tails of Lipschitz triangular
// flows").
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/base_distribution.h"

namespace densityd::flow {

/// Independent t distributions of location 0, scale 1 and nu = 1 + softplus(raw) degrees of freedom. Registers
/// `degrees` (D), raw, unless they are fixed.
///
/// Samples take two normal numbers n, m per column, by Bailey's polar method (Bailey 1994, "Polar generation of random
/// variates with the t-distribution"), with r^2 = n^2 + m^2:  t = n sqrt(nu (exp(r^2 / nu) - 1) / r^2).
class StudentT final : public BaseDistribution {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  StudentT(const density::v1::StudentT& spec, int64_t features);
  Tensor LogProb(const Tensor& z, const Tensor& context) override;
  Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) override;
  Tensor FromNoise(const Tensor& noise, const Tensor& context) override;

 private:
  Tensor Degrees() const;
  Tensor ColumnLogProb(const Tensor& z) const;

  Tensor degrees_;
};

}  // namespace densityd::flow
