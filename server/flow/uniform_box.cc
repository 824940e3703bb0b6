#include "server/flow/uniform_box.h"

#include <cmath>
#include <limits>

#include "server/flow/rounded_ends_tensor.h"

namespace densityd::flow {

UniformBox::UniformBox(const density::v1::UniformBox& spec, int64_t features)
    : low_(spec.low()), high_(spec.high()), features_(features) {}

Tensor UniformBox::IsOutside(const Tensor& z) const {
  const Tensor inside = WithinEnds(z, low_, high_);
  return (inside < low_).logical_or(inside > high_);
}

Tensor UniformBox::LogProb(const Tensor& z, const Tensor& /*context*/) {
  const Tensor outside = IsOutside(z).any(1);
  // Keeps NaN, and a place in the graph; its gradient is zero.
  const Tensor zero = (0 * z).sum(1);
  const double log_density = -static_cast<double>(features_) * std::log(high_ - low_);
  return (zero + log_density).masked_fill(outside, -std::numeric_limits<double>::infinity());
}

Tensor UniformBox::LogProbByColumn(const Tensor& z, const Tensor& /*context*/, const Tensor& /*order*/) {
  return (0 * z - std::log(high_ - low_)).masked_fill(IsOutside(z), -std::numeric_limits<double>::infinity());
}

Tensor UniformBox::FromNoise(const Tensor& noise, const Tensor& /*context*/) {
  return (low_ + (high_ - low_) * torch::special_ndtr(noise)).clamp(low_, high_);
}

}  // namespace densityd::flow
