#include "server/flow/base_distribution.h"

#include <cmath>
#include <numbers>

#include "server/flow/elementary.h"

namespace densityd::flow {
namespace {

// log N(0, 1) of each column, summed over the columns.
Tensor StandardNormalLogProb(const Tensor& z) {
  return -0.5 * (z.square().sum(1) + static_cast<double>(z.size(1)) * std::log(2 * std::numbers::pi));
}

class StandardNormal final : public BaseDistribution {
 public:
  Tensor LogProb(const Tensor& z, const Tensor& /*context*/) override { return StandardNormalLogProb(z); }
  Tensor FromNormal(const Tensor& normal, const Tensor& /*context*/) override { return normal; }
};

class DiagonalNormal final : public BaseDistribution {
 public:
  explicit DiagonalNormal(int64_t features) {
    mean_ = register_parameter("mean", torch::zeros({features}, torch::kFloat64));
    log_scale_ = register_parameter("log_scale", torch::zeros({features}, torch::kFloat64));
  }

  Tensor LogProb(const Tensor& z, const Tensor& /*context*/) override {
    const Tensor log_scale = LogScale();
    return StandardNormalLogProb((z - mean_) * (-log_scale).exp()) - log_scale.sum();
  }
  Tensor FromNormal(const Tensor& normal, const Tensor& /*context*/) override {
    return normal * LogScale().exp() + mean_;
  }

 private:
  Tensor LogScale() const { return SoftBound(log_scale_, std::log(1e3)); }

  Tensor mean_;
  Tensor log_scale_;
};

}  // namespace

std::shared_ptr<BaseDistribution> MakeBaseDistribution(const density::v1::BaseDistribution& spec, int64_t features) {
  if (spec.has_diagonal_normal()) return std::make_shared<DiagonalNormal>(features);
  return std::make_shared<StandardNormal>();
}

}  // namespace densityd::flow
