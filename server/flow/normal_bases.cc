#include "server/flow/normal_bases.h"

#include <cmath>
#include <numbers>

#include "server/flow/elementary.h"

namespace densityd::flow {
namespace {

// log N(0, 1) of each column, summed over the columns.
Tensor StandardLogProb(const Tensor& z) {
  return -0.5 * (z.square().sum(1) + static_cast<double>(z.size(1)) * std::log(2 * std::numbers::pi));
}

// The same, not summed.
Tensor StandardLogProbByColumn(const Tensor& z) { return -0.5 * (z.square() + std::log(2 * std::numbers::pi)); }

// Mean and log sigma, (D) or (N, D) each.
struct Normal {
  Normal(Tensor mean_numbers, const Tensor& raw_log_scale)
      : mean(std::move(mean_numbers)), log_scale(SoftBound(raw_log_scale, std::log(1e3))) {}

  Tensor LogProb(const Tensor& z) const { return StandardLogProb((z - mean) * (-log_scale).exp()) - log_scale.sum(-1); }
  Tensor LogProbByColumn(const Tensor& z) const {
    return StandardLogProbByColumn((z - mean) * (-log_scale).exp()) - log_scale;
  }
  Tensor FromNoise(const Tensor& noise) const { return noise * log_scale.exp() + mean; }

  Tensor mean;
  Tensor log_scale;
};

Normal Split(const Tensor& numbers) {
  const auto halves = numbers.chunk(2, 1);
  return {halves[0], halves[1]};
}

}  // namespace

Tensor StandardNormal::LogProb(const Tensor& z, const Tensor& /*context*/) { return StandardLogProb(z); }

Tensor StandardNormal::LogProbByColumn(const Tensor& z, const Tensor& /*context*/, const Tensor& /*order*/) {
  return StandardLogProbByColumn(z);
}

Tensor StandardNormal::FromNoise(const Tensor& noise, const Tensor& /*context*/) { return noise; }

DiagonalNormal::DiagonalNormal(int64_t features) {
  mean_ = register_parameter("mean", torch::zeros({features}, torch::kFloat64));
  log_scale_ = register_parameter("log_scale", torch::zeros({features}, torch::kFloat64));
}

Tensor DiagonalNormal::LogProb(const Tensor& z, const Tensor& /*context*/) {
  return Normal(mean_, log_scale_).LogProb(z);
}

Tensor DiagonalNormal::LogProbByColumn(const Tensor& z, const Tensor& /*context*/, const Tensor& /*order*/) {
  return Normal(mean_, log_scale_).LogProbByColumn(z);
}

Tensor DiagonalNormal::FromNoise(const Tensor& noise, const Tensor& /*context*/) {
  return Normal(mean_, log_scale_).FromNoise(noise);
}

ConditionalDiagonalNormal::ConditionalDiagonalNormal(const density::v1::ConditionalDiagonalNormal& spec,
                                                     int64_t features, int64_t context_features,
                                                     Initializer& initializer)
    : conditioner_(register_module(
          "conditioner", MakeConditioner(spec.conditioner(), 0, context_features, 2 * features, initializer))) {}

Tensor ConditionalDiagonalNormal::LogProb(const Tensor& z, const Tensor& context) {
  return Split(conditioner_->Compute(Tensor(), context)).LogProb(z);
}

Tensor ConditionalDiagonalNormal::LogProbByColumn(const Tensor& z, const Tensor& context, const Tensor& /*order*/) {
  return Split(conditioner_->Compute(Tensor(), context)).LogProbByColumn(z);
}

Tensor ConditionalDiagonalNormal::FromNoise(const Tensor& noise, const Tensor& context) {
  return Split(conditioner_->Compute(Tensor(), context)).FromNoise(noise);
}

}  // namespace densityd::flow
