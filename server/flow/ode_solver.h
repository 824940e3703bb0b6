// Ordinary differential equations, row by row.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "torch/types.h"

namespace densityd::flow {

/// dy/ds of rows y (M, W) at their own times s (M, 1). `given` are numbers of each row that stay as they are, such as
/// its context: any shape whose first size is M.
using OdeRate = std::function<torch::Tensor(const torch::Tensor& s, const torch::Tensor& y,
                                            const std::vector<torch::Tensor>& given)>;

/// dy/ds = rate(s, y), to be solved from s = 0 to s = 1.
struct OdeProblem {
  /// Makes the rate for a number of evaluations: whatever depends on the parameters alone is computed once. Called
  /// under the grad mode in which the rate will be.
  std::function<OdeRate()> prepare;
  std::vector<torch::Tensor> parameters;  ///< that the rate depends on
  int64_t controlled = 0;                 ///< columns of y, the first ones, whose error is controlled
  double absolute_tolerance = 0;          ///< of one step, in each controlled column: absolute + relative |y|
  double relative_tolerance = 0;
  int64_t max_steps = 0;  ///< per row, rejected ones included
};

/// y(1) (N, W) of y(0) = `start` (N, W), given `given`. Dormand & Prince's method of order 5 with an error estimate of
/// order 4 (1980), and local extrapolation. Each row takes steps of its own, which do not depend on the rows beside it.
/// NaN in every column of a row that needs more steps than it may take, or whose numbers are no longer finite.
///
/// Differentiable once, by `start`, `given` and the parameters: the derivative is that of the steps that were taken,
/// their sizes as constants ("discretise, then optimise"). Unlike the adjoint equation, which is solved anew and meets
/// the solution at its own error only, it is exact for the numbers that are returned. Kept are the states between
/// steps; what happens inside a step is computed again.
torch::Tensor SolveOde(std::shared_ptr<const OdeProblem> problem, const torch::Tensor& start,
                       const std::vector<torch::Tensor>& given);

}  // namespace densityd::flow
