// Residual flows.
#pragma once

#include <memory>

#include "density/v1/flow_spec.pb.h"
#include "server/flow/contractive_network.h"
#include "server/flow/transform.h"

namespace densityd::flow {

/// z = x + g(x, c) with a contractive g (i-ResNet, Behrmann et al. 2019; Residual Flow, Chen et al. 2019). Registers
/// `network`. log|det(I + dg/dx)| is exact for few columns, and otherwise the power series
/// sum_k (-1)^(k+1) / k tr(J^k), truncated, its traces estimated with Rademacher probes: the same for every row and
/// call, and fresh ones in training. x is the fixed point of x = z - g(x), which always converges, to `tolerance` or to
/// what rounding leaves of the row's digits; it is differentiable.
class Residual final : public Transform {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  Residual(const density::v1::Residual& spec, int64_t features, int64_t context_features, Initializer& initializer);
  Mapped Forward(const Tensor& z, const Tensor& context) override;
  Mapped Inverse(const Tensor& x, const Tensor& context) override;
  Mapped InverseWithProbes(const Tensor& x, const Tensor& context, uint64_t draw) override;

 private:
  using Weights = ContractiveNetwork::Weights;
  using Point = ContractiveNetwork::Point;
  Mapped Inverse(const Tensor& x, const Tensor& context, const Tensor& probes) const;
  Tensor LogAbsDet(const Weights& weights, const Point& point, const Tensor& probes) const;
  Tensor SeriesLogAbsDet(const Weights& weights, const Point& point, const Tensor& probes) const;
  Tensor FixedPoint(const Weights& weights, const Tensor& z, const Tensor& context) const;
  // (I + J)^-1 residual, J at `point`.
  Tensor SolveLinear(const Weights& weights, const Point& point, const Tensor& residual) const;
  bool IsExact() const { return features_ <= exact_features_; }

  const int64_t features_;
  const int64_t exact_features_;
  const int64_t terms_;
  const double tolerance_;
  const uint64_t seed_;  // of the probes
  Tensor probes_;        // (probes, D) of -1 and 1
  std::shared_ptr<ContractiveNetwork> network_;
};

}  // namespace densityd::flow
