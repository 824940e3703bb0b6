#include "server/flow/univariate.h"

#include "server/flow/rational_quadratic_spline.h"

namespace densityd::flow {
namespace {

// x = z + t (NICE, Dinh et al. 2014); theta = (t).
class Shift final : public Univariate {
 public:
  MappedColumns Forward(const Tensor& z, const Tensor& theta) const override {
    return {z + theta.select(2, 0), torch::zeros_like(z)};
  }
  MappedColumns Inverse(const Tensor& x, const Tensor& theta) const override {
    return {x - theta.select(2, 0), torch::zeros_like(x)};
  }
};

// x = z * exp(s) + t (RealNVP, Dinh et al. 2017), s = c * tanh(a / c); theta = (a, t).
class Affine final : public Univariate {
 public:
  explicit Affine(double max_log_scale) : max_log_scale_(max_log_scale) {}

  MappedColumns Forward(const Tensor& z, const Tensor& theta) const override {
    const Tensor log_scale = LogScale(theta);
    return {z * log_scale.exp() + theta.select(2, 1), log_scale.expand_as(z)};
  }
  MappedColumns Inverse(const Tensor& x, const Tensor& theta) const override {
    const Tensor log_scale = LogScale(theta);
    return {(x - theta.select(2, 1)) * (-log_scale).exp(), -log_scale.expand_as(x)};
  }

 private:
  Tensor LogScale(const Tensor& theta) const { return SoftBound(theta.select(2, 0), max_log_scale_); }

  const double max_log_scale_;
};

}  // namespace

std::unique_ptr<Univariate> MakeUnivariate(const density::v1::Univariate& spec) {
  if (spec.has_shift()) return std::make_unique<Shift>();
  if (spec.has_rational_quadratic_spline()) {
    return std::make_unique<RationalQuadraticSpline>(spec.rational_quadratic_spline());
  }
  return std::make_unique<Affine>(spec.affine().max_log_scale());
}

}  // namespace densityd::flow
