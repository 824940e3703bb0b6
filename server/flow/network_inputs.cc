#include "server/flow/network_inputs.h"

#include <algorithm>
#include <numbers>
#include <vector>

namespace densityd::flow {

NetworkInputs::NetworkInputs(const density::v1::Univariate& univariate, const Columns& columns)
    : turns_(std::numbers::pi / std::max(univariate.rational_quadratic_spline().bound(), 1e-3)) {
  columns_ = RegisterConstant(torch::tensor(columns, torch::kInt64));
  const Columns circles = AngleColumns(univariate, columns);
  if (circles.empty()) return;
  circles_ = RegisterConstant(torch::tensor(circles, torch::kInt64));
  is_circle_ = RegisterConstant(torch::isin(columns_, circles_));
}

Tensor NetworkInputs::Compute(const Tensor& rows) const {
  // The columns are ascending: as many as there are, are all of them.
  const Tensor numbers = columns_.size(0) == rows.size(1) ? rows : rows.index_select(1, columns_);
  if (!is_circle_.defined()) return numbers;
  const Tensor cosines = torch::where(is_circle_, torch::cos(numbers * turns_), numbers);
  return torch::cat({cosines, torch::sin(rows.index_select(1, circles_) * turns_)}, 1);
}

}  // namespace densityd::flow
