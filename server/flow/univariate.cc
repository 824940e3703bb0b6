#include "server/flow/univariate.h"

#include <cmath>

#include "server/flow/circular_spline.h"
#include "server/flow/fused_affine.h"
#include "server/flow/mixture_cdf.h"

namespace densityd::flow {
namespace {

using AffineSpec = density::v1::Affine;

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

// The log of an affine map's scale g as a function of the raw parameter a; a = 0 gives 0. See flow_spec.proto.
class LogScale {
 public:
  explicit LogScale(const density::v1::Affine& spec)
      : function_(spec.scale_function()),
        bound_(spec.max_log_scale()),
        min_(spec.min_scale()),
        range_(spec.max_scale() - spec.min_scale()),
        sign_(spec.reciprocal_scale() ? -1 : 1) {
    if (function_ == AffineSpec::SOFTPLUS) offset_ = InverseSoftplus(1 - min_);
    if (function_ == AffineSpec::SIGMOID) offset_ = std::log((1 - min_) / (spec.max_scale() - 1));
  }

  /// c and the sign, where log g is c tanh(a / c) or its negative; else c is zero.
  BoundedAffine Bounded() const {
    const bool is_tanh = function_ == AffineSpec::TANH || function_ == AffineSpec::SCALE_FUNCTION_UNSPECIFIED;
    return {is_tanh ? static_cast<float>(bound_) : 0, static_cast<float>(sign_)};
  }

  Tensor operator()(const Tensor& a) const { return sign_ < 0 ? -OfScale(a) : OfScale(a); }

 private:
  Tensor OfScale(const Tensor& a) const {
    switch (function_) {
      case AffineSpec::SOFT_CLIP:
        return SoftClip(a, bound_);
      case AffineSpec::EXP:
        return a;
      case AffineSpec::SOFTPLUS:
        return (min_ + Softplus(a + offset_)).log();
      case AffineSpec::SIGMOID:
        // Without a minimum the log of a sigmoid is exact where the sigmoid itself underflows.
        if (min_ == 0) return torch::log_sigmoid(a + offset_) + std::log(range_);
        return (min_ + range_ * torch::sigmoid(a + offset_)).log();
      default:
        return SoftBound(a, bound_);
    }
  }

  const AffineSpec::ScaleFunction function_;
  const double bound_;
  const double min_;
  const double range_;
  const int sign_;
  double offset_ = 0;
};

// x = z * g + t (MAF, Papamakarios et al. 2017), or z = x * g + t (RealNVP, Dinh et al. 2017); theta = (a, t).
class Affine final : public Univariate {
 public:
  explicit Affine(const AffineSpec& spec)
      : log_scale_(spec), describes_inverse_(spec.direction() == AffineSpec::INVERSE) {}

  MappedColumns Forward(const Tensor& z, const Tensor& theta) const override {
    return describes_inverse_ ? Undo(z, theta) : Apply(z, theta);
  }
  MappedColumns Inverse(const Tensor& x, const Tensor& theta) const override {
    return describes_inverse_ ? Apply(x, theta) : Undo(x, theta);
  }

 private:
  // from * g + t.
  MappedColumns Apply(const Tensor& from, const Tensor& theta) const {
    const BoundedAffine bounded = log_scale_.Bounded();
    if (bounded.bound > 0 && SuitsFusedAffine(from, theta)) return FusedAffine(bounded, from, theta);
    const Tensor log_scale = log_scale_(theta.select(2, 0));
    return {from * log_scale.exp() + theta.select(2, 1), log_scale.expand_as(from)};
  }
  // (from - t) / g.
  MappedColumns Undo(const Tensor& from, const Tensor& theta) const {
    const BoundedAffine bounded = log_scale_.Bounded();
    if (bounded.bound > 0 && SuitsFusedAffine(from, theta)) {
      return FusedAffine({bounded.bound, -bounded.sign, /*shifts_first=*/true}, from, theta);
    }
    const Tensor log_scale = log_scale_(theta.select(2, 0));
    return {(from - theta.select(2, 1)) * (-log_scale).exp(), -log_scale.expand_as(from)};
  }

  const LogScale log_scale_;
  const bool describes_inverse_;
};

}  // namespace

std::unique_ptr<Univariate> MakeUnivariate(const density::v1::Univariate& spec, const Columns& columns) {
  if (spec.has_shift()) return std::make_unique<Shift>();
  if (spec.has_rational_quadratic_spline()) return MakeSpline(spec.rational_quadratic_spline(), columns);
  if (spec.has_mixture_cdf()) return std::make_unique<MixtureCdf>(spec.mixture_cdf());
  return std::make_unique<Affine>(spec.affine());
}

}  // namespace densityd::flow
