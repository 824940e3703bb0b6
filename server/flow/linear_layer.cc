#include "server/flow/linear_layer.h"

#include <cmath>

#include "ATen/CPUGeneratorImpl.h"

namespace densityd::flow {
namespace {

double Bound(Start start, int64_t inputs) {
  switch (start) {
    case Start::kUniform:
      return 1 / std::sqrt(static_cast<double>(inputs));
    case Start::kSmall:
      return 1e-3;
    case Start::kZero:
      break;
  }
  return 0;
}

Tensor Mask(const Units& from, const Units& to) {
  const Tensor from_degrees = torch::tensor(from.degrees, torch::kInt64).unsqueeze(0);
  const Tensor to_degrees = torch::tensor(to.degrees, torch::kInt64).unsqueeze(1);
  return (from_degrees <= to_degrees).to(torch::kFloat64);
}

}  // namespace

Initializer::Initializer(uint64_t seed) : generator_(at::make_generator<at::CPUGeneratorImpl>(seed)) {}

Tensor Initializer::Uniform(torch::IntArrayRef shape, double bound) {
  return torch::empty(shape, torch::kFloat64).uniform_(-bound, bound, generator_);
}

LinearLayer::LinearLayer(const Units& from, const Units& to, Start start, Initializer& initializer) {
  const double bound = Bound(start, from.count);
  Tensor weight = initializer.Uniform({to.count, from.count}, bound);
  if (!from.degrees.empty()) {
    mask_ = RegisterConstant(Mask(from, to));
    // What is masked is stored as zero.
    weight *= mask_;
  }
  weight_ = register_parameter("weight", weight);
  bias_ = register_parameter("bias", initializer.Uniform({to.count}, bound));
}

Tensor LinearLayer::Apply(const Tensor& x) const {
  const bool needs_mask = mask_.defined() && !is_weight_masked_;
  return torch::linear(x, needs_mask ? weight_ * mask_ : weight_, bias_);
}

}  // namespace densityd::flow
