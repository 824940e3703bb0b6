// The inverse of an increasing function that has no closed form.
#pragma once

#include <functional>

#include "server/flow/elementary.h"

namespace densityd::flow {

/// The numbers at which `map`, increasing in each element, has the value `target`, between `low` and `high`, which
/// bracket them. All tensors have one shape. Newton's method inside the bracket, bisection where it does not help:
/// to the last digits of the number type, at most 200 calls of `map`. Each element is found on its own: its bits do not
/// depend on the others. An element that is not a number stays so.
///
/// Differentiable, by the implicit function theorem, by `target` and by all that `map` depends on.
Tensor SolveMonotone(const std::function<MappedColumns(const Tensor&)>& map, const Tensor& target, const Tensor& low,
                     const Tensor& high);

}  // namespace densityd::flow
