#include "server/flow/bends.h"

#include <cmath>

#include "server/flow/elementary.h"
#include "server/flow/monotone_solve.h"

namespace densityd::flow {
namespace {

using density::v1::Autoregressive;

constexpr double kMinAlpha = 1e-3;

const density::v1::Conditioner* ConditionerOf(const auto& spec) {
  return spec.has_conditioner() ? &spec.conditioner() : nullptr;
}

}  // namespace

Bend::Bend(Autoregressive::ParallelDirection parallel) : density_(parallel != Autoregressive::SAMPLING) {}

Mapped Bend::Forward(const Tensor& z, const Tensor& context) { return density_ ? Undo(z, context) : Apply(z, context); }

Mapped Bend::Inverse(const Tensor& x, const Tensor& context) { return density_ ? Apply(x, context) : Undo(x, context); }

Mapped Bend::Undo(const Tensor& y, const Tensor& context) {
  const Tensor x = Solve(y, context);
  return {x, -Apply(x, context).log_abs_det};
}

BendParameters::BendParameters(const Tensor& start, const density::v1::Conditioner* conditioner,
                               int64_t context_features, Initializer& initializer) {
  theta_ = register_parameter("theta", start.clone());
  if (context_features > 0 && conditioner != nullptr) {
    conditioner_ =
        register_module("conditioner", MakeConditioner(*conditioner, 0, context_features, start.size(0), initializer));
  }
}

Tensor BendParameters::Compute(const Tensor& context) {
  const Tensor learnt = theta_.unsqueeze(0);
  return conditioner_ ? learnt + conditioner_->Compute(Tensor(), context) : learnt;
}

Tensor AboveMinusOne(const Tensor& a) {
  const Tensor below = kMaxContraction * torch::expm1(a.clamp_max(0) / kMaxContraction);
  return torch::where(a < 0, below, a);
}

// u and w (1 or N, D), b (1 or N), and w . u, which is above -0.999.
struct Planar::Numbers {
  Tensor u;
  Tensor w;
  Tensor b;
  Tensor wu;
};

Planar::Planar(const density::v1::Planar& spec, int64_t features, int64_t context_features, Initializer& initializer)
    : Bend(spec.parallel()), features_(features) {
  const Tensor u = torch::zeros({features}, torch::kFloat64);
  // Where w is zero too, no gradient would ever leave the start.
  const Tensor w_and_b = initializer.Uniform({features + 1}, 1 / std::sqrt(static_cast<double>(features)));
  parameters_ = register_module(
      "parameters",
      std::make_shared<BendParameters>(torch::cat({u, w_and_b}), ConditionerOf(spec), context_features, initializer));
}

Planar::Numbers Planar::Compute(const Tensor& context) {
  const Tensor theta = parameters_->Compute(context);
  const Tensor w = theta.narrow(1, features_, features_);
  const Tensor raw = theta.narrow(1, 0, features_);
  const Tensor raw_wu = (w * raw).sum(1, /*keepdim=*/true);
  const Tensor wu = AboveMinusOne(raw_wu);
  // The part of u along w is what must not contract too much; m(a) - a vanishes faster than |w|^2 does.
  const Tensor u = raw + (wu - raw_wu) / w.square().sum(1, true).clamp_min(1e-30) * w;
  return {u, w, theta.select(1, 2 * features_), wu.squeeze(1)};
}

Mapped Planar::Apply(const Tensor& x, const Tensor& context) {
  const Numbers numbers = Compute(context);
  const Tensor hidden = torch::tanh((x * numbers.w).sum(1) + numbers.b);
  const Tensor log_abs_det = torch::log1p(numbers.wu * (1 - hidden.square()));
  return {x + numbers.u * hidden.unsqueeze(1), log_abs_det};
}

Tensor Planar::Solve(const Tensor& y, const Tensor& context) {
  const Numbers numbers = Compute(context);
  // a = w . x is the root of a + (w . u) tanh(a + b) = w . y; a lies within |w . u| of it.
  const Tensor target = (y * numbers.w).sum(1);
  const auto map = [&numbers](const Tensor& a) -> MappedColumns {
    const Tensor hidden = torch::tanh(a + numbers.b);
    return {a + numbers.wu * hidden, torch::log1p(numbers.wu * (1 - hidden.square()))};
  };
  const Tensor reach = numbers.wu.abs() * (1 + 1e-6) + target.abs() * 1e-6;
  const Tensor a = SolveMonotone(map, target, target - reach, target + reach);
  return y - numbers.u * torch::tanh(a + numbers.b).unsqueeze(1);
}

// x0 (1 or N, D), alpha and beta (1 or N, 1).
struct Radial::Numbers {
  Tensor centre;
  Tensor alpha;
  Tensor beta;
};

Radial::Radial(const density::v1::Radial& spec, int64_t features, int64_t context_features, Initializer& initializer)
    : Bend(spec.parallel()), features_(features) {
  const Tensor centre = initializer.Uniform({features}, 1);
  const Tensor rest = torch::zeros({2}, torch::kFloat64);
  parameters_ = register_module(
      "parameters",
      std::make_shared<BendParameters>(torch::cat({centre, rest}), ConditionerOf(spec), context_features, initializer));
}

Radial::Numbers Radial::Compute(const Tensor& context) {
  const Tensor theta = parameters_->Compute(context);
  const Tensor alpha = kMinAlpha + Softplus(theta.narrow(1, features_, 1) + InverseSoftplus(1 - kMinAlpha));
  return {theta.narrow(1, 0, features_), alpha, alpha * AboveMinusOne(theta.narrow(1, features_ + 1, 1))};
}

Mapped Radial::Apply(const Tensor& x, const Tensor& context) {
  const Numbers numbers = Compute(context);
  const Tensor offset = x - numbers.centre;
  const Tensor reach = numbers.alpha + offset.norm(2, {1}, /*keepdim=*/true);
  const Tensor share = numbers.beta / reach;
  const Tensor across = static_cast<double>(features_ - 1) * torch::log1p(share);
  const Tensor along = torch::log1p(share * numbers.alpha / reach);
  return {x + share * offset, (across + along).squeeze(1)};
}

Tensor Radial::Solve(const Tensor& y, const Tensor& context) {
  const Numbers numbers = Compute(context);
  const Tensor offset = y - numbers.centre;
  const Tensor length = offset.norm(2, {1}, /*keepdim=*/true);
  // r = |x - x0| is the positive root of r^2 + p r - alpha |y - x0| = 0, in the form without cancellation.
  const Tensor p = numbers.alpha + numbers.beta - length;
  const Tensor root = (p.square() + 4 * numbers.alpha * length).sqrt();
  const Tensor positive = p >= 0;
  const Tensor r = torch::where(
      positive, 2 * numbers.alpha * length / (p + root).masked_fill(positive.logical_not(), 1), (root - p) / 2);
  return numbers.centre + offset / (1 + numbers.beta / (numbers.alpha + r));
}

}  // namespace densityd::flow
