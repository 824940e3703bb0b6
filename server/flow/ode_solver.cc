#include "server/flow/ode_solver.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "torch/autograd.h"

namespace densityd::flow {
namespace {

using torch::Tensor;
using Tensors = std::vector<Tensor>;

// Dormand & Prince 1980. Row i makes the state at which stage i + 2 is evaluated; the last one makes the result.
constexpr size_t kStages = 6;
constexpr double kWeights[kStages][kStages] = {
    {1.0 / 5},
    {3.0 / 40, 9.0 / 40},
    {44.0 / 45, -56.0 / 15, 32.0 / 9},
    {19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729},
    {9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656},
    {35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84},
};
constexpr double kTimes[kStages - 1] = {1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1};
// Result of order 5 minus that of order 4.
constexpr double kError[kStages + 1] = {71.0 / 57600,      0,          -71.0 / 16695, 71.0 / 1920,
                                        -17253.0 / 339200, 22.0 / 525, -1.0 / 40};

// Step sizes change by factors within these, times what the error estimate suggests.
constexpr double kSafety = 0.9;
constexpr double kLeastFactor = 0.2;
constexpr double kMostFactor = 10;
// A tolerance below so many spacings of numbers at 1 is that many: rounding is not an error that smaller steps cure.
constexpr double kLeastSpacings = 16;

// Rows that took a step together, each its own.
struct Step {
  Tensor rows;  // (M), indices of rows
  Tensor time;  // (M, 1), where the step begins
  Tensor size;  // (M, 1)
  Tensor y;     // (M, W), the state there
};

double Spacing(const Tensor& y) {
  return y.scalar_type() == torch::kFloat32 ? std::numeric_limits<float>::epsilon()
                                            : std::numeric_limits<double>::epsilon();
}

Tensor WeightedSum(const Tensors& rates, const double* weights) {
  Tensor sum = rates[0] * weights[0];
  for (size_t i = 1; i < rates.size(); ++i) {
    if (weights[i] != 0) sum = sum.add(rates[i], weights[i]);
  }
  return sum;
}

// The state after a step, from `rates`, which holds the rate at its beginning; the other stages' are added.
Tensor TakeStep(const OdeRate& rate, const Step& step, const Tensors& given, Tensors& rates) {
  for (size_t i = 0;; ++i) {
    const Tensor y = step.y + step.size * WeightedSum(rates, kWeights[i]);
    if (i + 1 == kStages) return y;
    rates.push_back(rate(step.time + kTimes[i] * step.size, y, given));
  }
}

Tensors SelectRows(const Tensors& tensors, const Tensor& rows) {
  Tensors selected;
  selected.reserve(tensors.size());
  for (const Tensor& tensor : tensors) selected.push_back(tensor.index_select(0, rows));
  return selected;
}

Tensor IndicesOf(const Tensor& flags) { return flags.nonzero().squeeze(1); }

// The rows that are still on their way.
class Walk {
 public:
  Walk(const OdeProblem& problem, const Tensor& start, const Tensors& given)
      : problem_(problem),
        rate_(problem.prepare()),
        least_step_(kLeastSpacings * Spacing(start)),
        absolute_(std::max(problem.absolute_tolerance, least_step_)),
        relative_(std::max(problem.relative_tolerance, least_step_)),
        arrived_(torch::full_like(start, std::numeric_limits<double>::quiet_NaN())),
        given_(given) {
    step_.rows = torch::arange(start.size(0), start.options().dtype(torch::kInt64));
    step_.y = start;
    step_.time = torch::zeros({start.size(0), 1}, start.options());
    first_rate_ = rate_(step_.time, step_.y, given_);
    // As if the fifth derivative were as large as the first.
    const Tensor steepness = Largest(first_rate_, Scale(start, start));
    next_size_ = (0.01 / steepness).pow(0.2).nan_to_num(least_step_).clamp_max(1);
  }

  bool IsDone() const { return step_.rows.size(0) == 0; }

  // Each row tries one step. Those that are accepted are added to `taken`, unless it is null.
  void Try(std::vector<Step>* taken) {
    const Tensor left = 1 - step_.time;
    step_.size = torch::minimum(next_size_, left);
    Tensors rates = {first_rate_};
    const Tensor y = TakeStep(rate_, step_, given_, rates);
    rates.push_back(rate_(step_.time + step_.size, y, given_));
    const Tensor error = Largest(step_.size * WeightedSum(rates, kError), Scale(step_.y, y));
    const Tensor accepted = error <= 1;  // not so for NaN
    if (taken != nullptr) Keep(accepted, *taken);
    const Tensor factor = (kSafety * error.pow(-0.2)).nan_to_num(kLeastFactor).clamp(kLeastFactor, kMostFactor);
    next_size_ = step_.size * torch::where(accepted, factor, factor.clamp_max(1));
    const Tensor ends = accepted.logical_and(step_.size >= left);
    step_.time = torch::where(accepted, step_.time + step_.size, step_.time);
    step_.y = torch::where(accepted, y, step_.y);
    first_rate_ = torch::where(accepted, rates.back(), first_rate_);
    Leave(ends, ends.logical_or(next_size_ < least_step_));
  }

  const Tensor& arrived() const { return arrived_; }

 private:
  Tensor Scale(const Tensor& before, const Tensor& after) const {
    return absolute_ + relative_ * torch::maximum(before.abs(), after.abs());
  }
  // (M, 1): the largest number of a row's controlled columns, in units of `scale`.
  Tensor Largest(const Tensor& numbers, const Tensor& scale) const {
    return (numbers.abs() / scale).narrow(1, 0, problem_.controlled).amax(1, /*keepdim=*/true);
  }

  void Keep(const Tensor& accepted, std::vector<Step>& taken) const {
    const Tensor which = IndicesOf(accepted.squeeze(1));
    if (which.size(0) == 0) return;
    taken.push_back({step_.rows.index_select(0, which), step_.time.index_select(0, which),
                     step_.size.index_select(0, which), step_.y.index_select(0, which)});
  }

  // Rows leave: those that have arrived, and those that have failed.
  void Leave(const Tensor& ends, const Tensor& leaves) {
    if (!leaves.any().item<bool>()) return;
    const Tensor which = IndicesOf(ends.squeeze(1));
    arrived_.index_copy_(0, step_.rows.index_select(0, which), step_.y.index_select(0, which));
    const Tensor stay = IndicesOf(leaves.squeeze(1).logical_not());
    for (Tensor* tensor : {&step_.rows, &step_.time, &step_.y, &first_rate_, &next_size_}) {
      *tensor = tensor->index_select(0, stay);
    }
    given_ = SelectRows(given_, stay);
  }

  const OdeProblem& problem_;
  const OdeRate rate_;
  const double least_step_;
  const double absolute_;
  const double relative_;
  Tensor arrived_;
  Tensors given_;
  Step step_;
  Tensor first_rate_;  // (M, W), at the beginning of the step: the last stage of the one before
  Tensor next_size_;   // (M, 1)
};

Tensor Solve(const OdeProblem& problem, const Tensor& start, const Tensors& given, std::vector<Step>* taken) {
  const torch::NoGradGuard no_grad;
  Walk walk(problem, start, given);
  for (int64_t step = 0; step < problem.max_steps && !walk.IsDone(); ++step) walk.Try(taken);
  return walk.arrived();
}

// What a backward pass needs beside tensors.
struct Solution : torch::CustomClassHolder {
  std::shared_ptr<const OdeProblem> problem;
  std::vector<Step> steps;
  size_t given = 0;
};

class Solver : public torch::autograd::Function<Solver> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const std::shared_ptr<const OdeProblem>& problem,
                        const Tensor& start, at::TensorList given, at::TensorList parameters) {
    auto solution = c10::make_intrusive<Solution>();
    solution->problem = problem;
    solution->given = given.size();
    Tensors saved = given.vec();
    Tensor end = Solve(*problem, start, saved, &solution->steps);
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    ctx->save_for_backward(std::move(saved));
    ctx->saved_data["solution"] = c10::IValue::make_capsule(solution);
    return end;
  }

  static Tensors backward(torch::autograd::AutogradContext* ctx, const Tensors& grads) {
    if (torch::GradMode::is_enabled()) {
      throw std::logic_error("the solution of a differential equation can be differentiated once only");
    }
    const auto solution = c10::static_intrusive_pointer_cast<Solution>(ctx->saved_data["solution"].toCapsule());
    const Tensors saved = ctx->get_saved_variables();
    Adjoint adjoint(*solution, saved, grads[0], [ctx](size_t input) { return ctx->needs_input_grad(input); });
    for (auto step = solution->steps.rbegin(); step != solution->steps.rend(); ++step) adjoint.Undo(*step);
    Tensors result = {Tensor()};  // of the problem, which is no tensor
    for (Tensor& gradient : adjoint.Take()) result.push_back(std::move(gradient));
    return result;
  }

 private:
  // Derivatives of the loss: by the states at the steps' beginnings, step by step back to the start.
  class Adjoint {
   public:
    template <typename Needs>
    Adjoint(const Solution& solution, const Tensors& saved, const Tensor& end, const Needs& needs)
        : solution_(solution), state_(end.clone()) {
      const auto middle = saved.begin() + static_cast<std::ptrdiff_t>(solution.given);
      given_.assign(saved.begin(), middle);
      parameters_.assign(middle, saved.end());
      for (size_t i = 0; i < saved.size(); ++i) {
        needs_.push_back(needs(1 + i));
        sums_.push_back(needs_[i] ? torch::zeros_like(saved[i]) : Tensor());
      }
    }

    void Undo(const Step& step) {
      const at::AutoGradMode grad_mode(true);
      Step again = step;
      again.y = step.y.detach().requires_grad_();
      Tensors given = SelectRows(given_, step.rows);
      Tensors inputs = {again.y};
      for (size_t i = 0; i < given.size(); ++i) {
        given[i] = given[i].detach().requires_grad_(needs_[i]);
        if (needs_[i]) inputs.push_back(given[i]);
      }
      for (size_t i = 0; i < parameters_.size(); ++i) {
        if (needs_[given.size() + i]) inputs.push_back(parameters_[i]);
      }
      const OdeRate rate = solution_.problem->prepare();
      Tensors rates = {rate(again.time, again.y, given)};
      const Tensor y = TakeStep(rate, again, given, rates);
      const Tensors gradients = torch::autograd::grad({y}, inputs, {state_.index_select(0, step.rows)}, std::nullopt,
                                                      /*create_graph=*/false, /*allow_unused=*/true);
      Add(step.rows, gradients);
    }

    // Of start, given and parameters.
    Tensors Take() {
      sums_.insert(sums_.begin(), std::move(state_));
      return std::move(sums_);
    }

   private:
    void Add(const Tensor& rows, const Tensors& gradients) {
      const torch::NoGradGuard no_grad;
      state_.index_copy_(0, rows, gradients[0]);
      size_t next = 1;
      for (size_t i = 0; i < sums_.size(); ++i) {
        if (!needs_[i]) continue;
        const Tensor& gradient = gradients[next++];
        if (!gradient.defined()) continue;
        if (i < given_.size()) {
          sums_[i].index_add_(0, rows, gradient);
        } else {
          sums_[i].add_(gradient);
        }
      }
    }

    const Solution& solution_;
    Tensors given_;
    Tensors parameters_;
    std::vector<bool> needs_;  // of given and parameters
    Tensors sums_;
    Tensor state_;
  };
};

bool NeedsGradient(const OdeProblem& problem, const Tensor& start, const Tensors& given) {
  if (!torch::GradMode::is_enabled()) return false;
  const auto needs = [](const Tensor& tensor) { return tensor.requires_grad(); };
  return needs(start) || std::any_of(given.begin(), given.end(), needs) ||
         std::any_of(problem.parameters.begin(), problem.parameters.end(), needs);
}

}  // namespace

Tensor SolveOde(std::shared_ptr<const OdeProblem> problem, const Tensor& start, const Tensors& given) {
  if (!NeedsGradient(*problem, start, given)) return Solve(*problem, start, given, nullptr);
  // As lists of references: a vector would not be taken for tensors.
  return Solver::apply(problem, start, at::TensorList(given), at::TensorList(problem->parameters));
}

}  // namespace densityd::flow
