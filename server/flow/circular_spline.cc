#include "server/flow/circular_spline.h"

#include <algorithm>
#include <vector>

#include "server/flow/rational_quadratic_spline.h"

namespace densityd::flow {
namespace {

// Some columns are circles, the others intervals with linear tails.
class PartlyCircularSpline final : public Univariate {
 public:
  PartlyCircularSpline(const density::v1::RationalQuadraticSpline& spec, std::vector<bool> is_circular)
      : is_circular_(std::move(is_circular)), circle_(spec, /*circular=*/true), interval_(spec, /*circular=*/false) {
    for (size_t k = 0; k < is_circular_.size(); ++k) {
      (is_circular_[k] ? circles_ : intervals_).push_back(static_cast<int64_t>(k));
    }
    places_ = circles_;
    places_.insert(places_.end(), intervals_.begin(), intervals_.end());
    places_ = InversePermutation(places_);
  }

  MappedColumns Forward(const Tensor& z, const Tensor& theta) const override {
    return Map(z, theta, &Univariate::Forward);
  }
  MappedColumns Inverse(const Tensor& x, const Tensor& theta) const override {
    return Map(x, theta, &Univariate::Inverse);
  }
  const Univariate& OfColumn(int64_t k) const override { return is_circular_[k] ? circle_ : interval_; }

 private:
  using Direction = MappedColumns (Univariate::*)(const Tensor&, const Tensor&) const;

  MappedColumns Map(const Tensor& numbers, const Tensor& theta, Direction direction) const {
    const auto part = [&](const Univariate& map, const Columns& columns) {
      const Tensor index = torch::tensor(columns, numbers.options().dtype(torch::kInt64));
      return (map.*direction)(numbers.index_select(1, index), theta.index_select(1, index));
    };
    const MappedColumns circles = part(circle_, circles_);
    const MappedColumns intervals = part(interval_, intervals_);
    const Tensor places = torch::tensor(places_, numbers.options().dtype(torch::kInt64));
    return {torch::cat({circles.value, intervals.value}, 1).index_select(1, places),
            torch::cat({circles.log_slope, intervals.log_slope}, 1).index_select(1, places)};
  }

  const std::vector<bool> is_circular_;
  const RationalQuadraticSpline circle_;
  const RationalQuadraticSpline interval_;
  Columns circles_;
  Columns intervals_;
  Columns places_;  // of each column among the circles, then the intervals
};

}  // namespace

std::unique_ptr<Univariate> MakeSpline(const density::v1::RationalQuadraticSpline& spec, const Columns& columns) {
  const auto& circular = spec.circular();
  std::vector<bool> is_circular;
  for (int64_t column : columns) {
    is_circular.push_back(std::find(circular.begin(), circular.end(), column) != circular.end());
  }
  // The layer's theta has numbers for circles where any of its D columns is one.
  const bool all = std::find(is_circular.begin(), is_circular.end(), false) == is_circular.end();
  const bool none = std::find(is_circular.begin(), is_circular.end(), true) == is_circular.end();
  if (all || none) return std::make_unique<RationalQuadraticSpline>(spec, all && !columns.empty());
  return std::make_unique<PartlyCircularSpline>(spec, std::move(is_circular));
}

}  // namespace densityd::flow
