// The uniform distribution on a box as a base: for data that end at a wall, and for angles.
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/base_distribution.h"

namespace densityd::flow {

/// Uniform on [low, high] in each of D columns, the ends as rounded_ends.h says. Registers nothing.
class UniformBox final : public BaseDistribution {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  UniformBox(const density::v1::UniformBox& spec, int64_t features);
  Tensor LogProb(const Tensor& z, const Tensor& context) override;
  Tensor LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& order) override;
  Tensor FromNoise(const Tensor& noise, const Tensor& context) override;

 private:
  // (N, D); false for NaN.
  Tensor IsOutside(const Tensor& z) const;

  const double low_;
  const double high_;
  const int64_t features_;
};

}  // namespace densityd::flow
