#include "server/flow/residual.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/flow/rademacher.h"
#include "server/flow/row_error.h"

namespace densityd::flow {

namespace {

void CheckFinite(const Tensor& x) {
  const Tensor lost = x.isfinite().all(1).logical_not();
  if (!lost.any().item<bool>()) return;
  throw RowError(lost.nonzero()[0].item<int64_t>(),
                 "a residual layer finds no x for it: numbers on the way are beyond what their type can hold");
}

}  // namespace

Residual::Residual(const density::v1::Residual& spec, int64_t features, int64_t context_features,
                   Initializer& initializer)
    : features_(features),
      exact_features_(spec.exact_trace_features()),
      terms_(spec.series_terms()),
      tolerance_(spec.tolerance()),
      seed_(spec.seed()),
      probes_(RegisterConstant(Rademacher(spec.probes(), features, spec.seed()))) {
  network_ = register_module("network", std::make_shared<ContractiveNetwork>(spec.network(), spec.coefficient(),
                                                                             features, context_features, initializer));
}

Mapped Residual::Inverse(const Tensor& x, const Tensor& context) { return Inverse(x, context, probes_); }

Mapped Residual::InverseWithProbes(const Tensor& x, const Tensor& context, uint64_t draw) {
  return Inverse(x, context, IsExact() ? probes_ : OtherRademacher(probes_, seed_, draw));
}

Mapped Residual::Inverse(const Tensor& x, const Tensor& context, const Tensor& probes) const {
  const Weights weights = network_->Normalised();
  const Point point = network_->Compute(weights, x, context);
  return {x + point.value, LogAbsDet(weights, point, probes)};
}

Mapped Residual::Forward(const Tensor& z, const Tensor& context) {
  const Weights weights = network_->Normalised();
  const auto newton = [&](const Tensor& at) {
    const Point point = network_->Compute(weights, at, context);
    return at - SolveLinear(weights, point, at + point.value - z);
  };
  Tensor root = FixedPoint(weights, z, context);
  {
    const torch::NoGradGuard no_grad;
    root = newton(root);  // squares the error
  }
  // Once more, for the derivatives of the fixed point.
  const Tensor x = newton(root);
  if (!is_training()) CheckFinite(x);
  return {x, -LogAbsDet(weights, network_->Compute(weights, x, context), probes_)};
}

Tensor Residual::LogAbsDet(const Weights& weights, const Point& point, const Tensor& probes) const {
  if (!IsExact()) return SeriesLogAbsDet(weights, point, probes);
  const Tensor identity = torch::eye(features_, point.value.options());
  // The determinant is positive: it is so at J = 0, and nowhere zero on the way to J.
  return std::get<1>(torch::linalg_slogdet(identity + ContractiveNetwork::Jacobian(weights, point)));
}

Tensor Residual::SeriesLogAbsDet(const Weights& weights, const Point& point, const Tensor& probes) const {
  Tensor sum = torch::zeros({point.value.size(0)}, point.value.options());
  for (const Tensor& fixed : probes.unbind(0)) {
    const Tensor probe = is_training() ? RandomRademacher(point.value.sizes(), point.value.options())
                                       : fixed.unsqueeze(0).expand_as(point.value);
    Tensor power = probe;
    for (int64_t k = 1; k <= terms_; ++k) {
      power = ContractiveNetwork::TimesJacobian(weights, point, power);
      const double factor = (k % 2 == 1 ? 1.0 : -1.0) / static_cast<double>(k);
      sum = sum + factor * (power * probe).sum(1);
    }
  }
  return sum / static_cast<double>(probes.size(0));
}

Tensor Residual::FixedPoint(const Weights& weights, const Tensor& z, const Tensor& context) const {
  const torch::NoGradGuard no_grad;
  const double contraction = network_->Contraction();
  const double epsilon = z.scalar_type() == torch::kFloat32 ? std::numeric_limits<float>::epsilon()
                                                            : std::numeric_limits<double>::epsilon();
  // |x_k - x| <= q / (1 - q) |x_k - x_(k-1)|: where the last change is below this, so is the error below `tolerance`.
  const double change = std::max(tolerance_ * std::min(1.0, (1 - contraction) / contraction), 8 * epsilon);
  // Enough from any start, with a margin for rounding.
  const int64_t steps = 100 + static_cast<int64_t>(2 * std::log(change * 1e-3) / std::log(contraction));
  const Tensor start = z.detach();
  const Tensor scale = start.abs().amax(1, /*keepdim=*/true).clamp_min(1);  // so that no square overflows
  Tensor x = start;
  Tensor done = torch::zeros({start.size(0)}, start.options().dtype(torch::kBool));
  Tensor last_length = torch::full({start.size(0)}, std::numeric_limits<double>::infinity(), start.options());
  for (int64_t step = 0; step < steps && !done.all().item<bool>(); ++step) {
    const Tensor next = start - network_->Compute(weights, x, context).value;
    const Tensor way = next - x;
    const Tensor ends = (way.abs() <= change * (1 + next.abs())).all(1);
    // Each way is shorter than the one before, but for rounding: where it is not, no more digits are to be had. A large
    // column's rounding errors reach all others, of which none may ever come as close as asked.
    const Tensor length = (way / scale).square().sum(1).sqrt();
    const Tensor stalls = (length >= last_length).logical_and(length.isfinite());
    // A row that has converged stays, so that it does not depend on its neighbours.
    x = torch::where(done.unsqueeze(1), x, next);
    done = done.logical_or(ends).logical_or(stalls);
    last_length = length;
  }
  return x.masked_fill(done.logical_not().unsqueeze(1), std::numeric_limits<double>::quiet_NaN());
}

Tensor Residual::SolveLinear(const Weights& weights, const Point& point, const Tensor& residual) const {
  if (IsExact()) {
    const Tensor jacobian = ContractiveNetwork::Jacobian(weights, point).detach();
    const Tensor identity = torch::eye(features_, residual.options());
    return torch::linalg_solve(identity + jacobian, residual.unsqueeze(2)).squeeze(2);
  }
  // (I + J)^-1 r = r - J r + J^2 r - …, with J as a constant.
  Weights fixed = weights;
  for (Tensor& matrix : fixed.matrices) matrix = matrix.detach();
  Point at = point;
  for (Tensor& slope : at.slopes) slope = slope.detach();
  Tensor sum = residual;
  Tensor term = residual;
  for (int64_t k = 1; k <= terms_; ++k) {
    term = -ContractiveNetwork::TimesJacobian(fixed, at, term);
    sum = sum + term;
  }
  return sum;
}

}  // namespace densityd::flow
