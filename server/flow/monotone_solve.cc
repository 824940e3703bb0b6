#include "server/flow/monotone_solve.h"

#include <limits>

namespace densityd::flow {
namespace {

constexpr int kMaxSteps = 200;

double Epsilon(const Tensor& numbers) {
  return numbers.scalar_type() == torch::kFloat32 ? std::numeric_limits<float>::epsilon()
                                                  : std::numeric_limits<double>::epsilon();
}

Tensor Find(const std::function<MappedColumns(const Tensor&)>& map, const Tensor& target, Tensor low, Tensor high) {
  const double tolerance = 2 * Epsilon(target);
  Tensor root = low + (high - low) / 2;
  Tensor done = torch::zeros_like(root, torch::kBool);
  for (int step = 1; step <= kMaxSteps; ++step) {
    const MappedColumns mapped = map(root);
    const Tensor excess = mapped.value - target;
    high = torch::where(excess > 0, root, high);
    low = torch::where(excess <= 0, root, low);
    const Tensor newton = root - excess * (-mapped.log_slope).exp();
    // Every third step halves the bracket, so that it shrinks whatever Newton's method does.
    const Tensor usable = (newton > low).logical_and(newton < high).logical_and(torch::full_like(done, step % 3 != 0));
    const Tensor next = torch::where(usable, newton, low + (high - low) / 2);
    const Tensor size = torch::maximum(low.abs(), high.abs()) * tolerance;
    // What is found stays: the middle of a bracket that Newton's method left wide may be far from it.
    done = done.logical_or((newton - root).abs() <= size).logical_or(high - low <= size).logical_or(excess == 0);
    root = torch::where(done, root, next);
    if (done.all().item<bool>()) break;
  }
  // Where an input was not a number.
  return torch::where(target.isnan(), target, root);
}

}  // namespace

Tensor SolveMonotone(const std::function<MappedColumns(const Tensor&)>& map, const Tensor& target, const Tensor& low,
                     const Tensor& high) {
  Tensor root;
  {
    const torch::NoGradGuard no_grad;
    root = Find(map, target.detach(), low.detach(), high.detach());
  }
  // One more step of Newton's method, which has the derivatives of the root.
  const MappedColumns mapped = map(root);
  return root - (mapped.value - target) * (-mapped.log_slope.detach()).exp();
}

}  // namespace densityd::flow
