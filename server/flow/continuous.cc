#include "server/flow/continuous.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/flow/ode_solver.h"
#include "server/flow/rademacher.h"
#include "server/flow/row_error.h"

namespace densityd::flow {

Continuous::Continuous(const density::v1::Continuous& spec, int64_t features, int64_t context_features,
                       Initializer& initializer)
    : spec_(spec), features_(features) {
  network_ =
      register_module("network", std::make_shared<VelocityNetwork>(spec, features, context_features, initializer));
  const VelocityNetwork::Wanted all = {.trace = true, .squared_norm = spec.jacobian_regularization() > 0};
  if (network_->NeedsProbes(all)) {
    probes_ = RegisterConstant(Rademacher(spec.probes(), features, spec.seed()).unsqueeze(0));
  }
}

Mapped Continuous::Inverse(const Tensor& x, const Tensor& context) {
  return Map(x, context, probes_, Direction::kInverse);
}

Mapped Continuous::InverseWithProbes(const Tensor& x, const Tensor& context, uint64_t draw) {
  const Tensor probes = probes_.defined() ? OtherRademacher(probes_.squeeze(0), spec_.seed(), draw) : probes_;
  return Map(x, context, probes.defined() ? probes.unsqueeze(0) : probes, Direction::kInverse);
}

Mapped Continuous::Forward(const Tensor& z, const Tensor& context) {
  return Map(z, context, probes_, Direction::kForward);
}

Mapped Continuous::Map(const Tensor& start, const Tensor& context, const Tensor& probes, Direction direction) const {
  const Tensor end = Solve(start, context, probes, direction, /*regularise=*/false);
  return {end.narrow(1, 0, features_), end.select(1, features_)};
}

Regularised Continuous::InverseForTraining(const Tensor& x, const Tensor& context) {
  const bool regularise = spec_.kinetic_regularization() > 0 || spec_.jacobian_regularization() > 0;
  if (!regularise) return {Inverse(x, context), Tensor()};
  const Tensor end = Solve(x, context, probes_, Direction::kInverse, regularise);
  return {{end.narrow(1, 0, features_), end.select(1, features_)}, end.select(1, features_ + 1)};
}

Tensor Continuous::Solve(const Tensor& start, const Tensor& context, const Tensor& probes, Direction direction,
                         bool regularise) const {
  const bool backwards = direction == Direction::kForward;
  VelocityNetwork::Wanted wanted;
  wanted.squared_norm = regularise && spec_.jacobian_regularization() > 0;
  std::vector<Tensor> given;
  if (context.defined()) given.push_back(context);
  const bool has_probes = network_->NeedsProbes(wanted);
  // Fresh ones belong to their rows.
  const bool fresh = has_probes && is_training();
  if (fresh) {
    given.push_back(RandomRademacher({start.size(0), probes.size(1), features_}, start.options()));
  }
  auto problem = std::make_shared<OdeProblem>();
  problem->parameters = network_->parameters();
  problem->controlled = features_ + 1;
  problem->absolute_tolerance = spec_.atol();
  problem->relative_tolerance = spec_.rtol();
  problem->max_steps = spec_.max_steps();
  problem->prepare = [network = network_, fixed = has_probes && !fresh ? probes : Tensor(), features = features_,
                      has_context = context.defined(), fresh, wanted, regularise, backwards,
                      kinetic = spec_.kinetic_regularization(),
                      jacobian = spec_.jacobian_regularization()]() -> OdeRate {
    return [=, form = network->TraceForm()](const Tensor& s, const Tensor& y, const std::vector<Tensor>& rows) {
      const Tensor t = backwards ? 1 - s : s;
      const auto field = network->Compute(form, y.narrow(1, 0, features), t, has_context ? rows.front() : Tensor(),
                                          fresh ? rows.back() : fixed, wanted);
      if (backwards) return -torch::cat({field.velocity, field.trace}, 1);
      if (!regularise) return torch::cat({field.velocity, field.trace}, 1);
      Tensor penalty = kinetic * field.velocity.square().sum(1, /*keepdim=*/true);
      if (wanted.squared_norm) penalty = penalty + jacobian * field.squared_norm;
      return torch::cat({field.velocity, field.trace, penalty}, 1);
    };
  };
  const Tensor rest = torch::zeros({start.size(0), regularise ? 2 : 1}, start.options());
  const Tensor end = SolveOde(std::move(problem), torch::cat({start, rest}, 1), given);
  if (is_training()) return end;
  const Tensor failed = end.select(1, 0).isnan();
  if (failed.any().item<bool>()) {
    throw RowError(failed.nonzero()[0].item<int64_t>(),
                   absl::StrCat("a continuous layer does not come to its end within max_steps = ", spec_.max_steps(),
                                " steps: its velocity is too steep there for the tolerances, or not finite"));
  }
  return end;
}

Tensor Continuous::MatchingLoss(const Tensor& x, const Tensor& z, const Tensor& context) const {
  const int64_t rows = x.size(0);
  const Tensor first = torch::rand({1, 1}, x.options());
  const Tensor t = (first + torch::arange(rows, x.options()).unsqueeze(1) / static_cast<double>(rows)).frac();
  return (network_->Velocity(torch::lerp(x, z, t), t, context) - (z - x)).square().sum(1);
}

}  // namespace densityd::flow
