#include "server/flow/monotone_solve.h"

#include <cmath>
#include <limits>

namespace densityd::flow {
namespace {

constexpr int kMaxSteps = 200;

double Epsilon(const Tensor& numbers) {
  return numbers.scalar_type() == torch::kFloat32 ? std::numeric_limits<float>::epsilon()
                                                  : std::numeric_limits<double>::epsilon();
}

// Such that exp of it times a number that is no larger is finite.
double LargestExponent(const Tensor& numbers) {
  return 0.5 * std::log(numbers.scalar_type() == torch::kFloat32 ? std::numeric_limits<float>::max()
                                                                 : std::numeric_limits<double>::max());
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
    const Tensor found = (newton - root).abs() <= size;
    const Tensor closed = (high - low <= size).logical_or(excess == 0);
    // The root of a bracket that closed is as it is: where the map is flat Newton's method leads far from it.
    const Tensor last = torch::where(found.logical_and(closed.logical_not()), torch::clamp(newton, low, high), root);
    // What is found stays: the middle of a bracket that Newton's method left wide may be far from it.
    root = torch::where(done, root, torch::where(found.logical_or(closed), last, next));
    done = done.logical_or(found).logical_or(closed);
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
  // A step of Newton's method has the derivatives of the root; its length, which is none, is taken from it. Flat places
  // have slopes whose reciprocal is more than the number type holds.
  const MappedColumns mapped = map(root);
  const Tensor reciprocal = (-mapped.log_slope.detach()).clamp_max(LargestExponent(root)).exp();
  const Tensor newton = (mapped.value - target) * reciprocal;
  return root - (newton - newton.detach());
}

}  // namespace densityd::flow
