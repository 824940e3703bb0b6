#include "server/flow/rational_quadratic_spline.h"

#include <cmath>

#include "server/flow/rounded_ends_tensor.h"

namespace densityd::flow {

// A number's bin, each field (N, K): its lower left corner, its size, and the slopes at its two knots.
struct RationalQuadraticSpline::Bin {
  Tensor x;
  Tensor z;
  Tensor width;
  Tensor height;
  Tensor slope;  // of the chord
  Tensor left_slope;
  Tensor right_slope;

  // Equation 4's denominator over the chord's slope is this curvature times t (1 - t), plus the slope.
  Tensor Curvature() const { return left_slope + right_slope - 2 * slope; }

  // log dz/dx at the share t of the width (equation 5).
  Tensor LogSlope(const Tensor& t) const {
    const Tensor rest = 1 - t;
    const Tensor numerator = right_slope * t.square() + 2 * slope * t * rest + left_slope * rest.square();
    const Tensor denominator = slope + Curvature() * t * rest;
    return 2 * slope.log() + numerator.log() - 2 * denominator.log();
  }
};

RationalQuadraticSpline::RationalQuadraticSpline(const density::v1::RationalQuadraticSpline& spec, bool circular)
    : bins_(spec.bins()),
      bound_(spec.bound()),
      soft_clip_(spec.parameterization() == density::v1::RationalQuadraticSpline::SOFT_CLIP),
      min_width_(spec.min_width()),
      min_height_(spec.min_height()),
      min_slope_(spec.min_slope()),
      half_turn_(circular && spec.circle() == density::v1::RationalQuadraticSpline::HALF_TURN),
      circular_(circular && !half_turn_) {}

MappedColumns RationalQuadraticSpline::Inverse(const Tensor& numbers, const Tensor& theta) const {
  const Tensor x = OnCircle(numbers);
  const Tensor clamped = x.clamp(-bound_, bound_);
  const Tensor inside = half_turn_ ? Turned(clamped, HalfTurn(clamped)) : clamped;
  const Bin bin = FindBin(inside, theta, /*numbers_are_x=*/true);
  const Tensor t = ((inside - bin.x) / bin.width).clamp(0, 1);
  const Tensor rest = 1 - t;
  const Tensor numerator = bin.height * (bin.slope * t.square() + bin.left_slope * t * rest);
  const Tensor denominator = bin.slope + bin.Curvature() * t * rest;
  const Tensor z = (bin.z + numerator / denominator).clamp(-bound_, bound_);
  return WithTails(x, {circular_ ? Turned(z, theta.select(-1, 3 * bins_)) : z, bin.LogSlope(t)});
}

MappedColumns RationalQuadraticSpline::Forward(const Tensor& numbers, const Tensor& theta) const {
  const Tensor z = OnCircle(numbers);
  const Tensor clamped = z.clamp(-bound_, bound_);
  const Tensor inside = circular_ ? Turned(clamped, -theta.select(-1, 3 * bins_)) : clamped;
  const Bin bin = FindBin(inside, theta, /*numbers_are_x=*/false);
  // t is the root of a t^2 + b t + c (equations 6 to 8), in the form without cancellation.
  const Tensor rise = inside - bin.z;
  const Tensor bend = rise * bin.Curvature();
  const Tensor a = bin.height * (bin.slope - bin.left_slope) + bend;
  const Tensor b = bin.height * bin.left_slope - bend;
  const Tensor c = -bin.slope * rise;
  const Tensor discriminant = (b.square() - 4 * a * c).clamp_min(0);
  const Tensor t = (2 * c / (-b - discriminant.sqrt())).clamp(0, 1);
  const Tensor x = (bin.x + t * bin.width).clamp(-bound_, bound_);
  return WithTails(z, {half_turn_ ? Turned(x, HalfTurn(x)) : x, -bin.LogSlope(t)});
}

Tensor RationalQuadraticSpline::OnCircle(const Tensor& numbers) const {
  return circular_ || half_turn_ ? WithinEnds(numbers, -bound_, bound_) : numbers;
}

Tensor RationalQuadraticSpline::Shares(const Tensor& raw, double minimum) const {
  if (soft_clip_) return SoftClip(raw, -std::log(min_slope_) / 2).softmax(-1);
  return minimum + (1 - minimum * static_cast<double>(bins_)) * raw.softmax(-1);
}

Tensor RationalQuadraticSpline::Knots(const Tensor& raw, double minimum) const {
  const Tensor sizes = 2 * bound_ * Shares(raw, minimum);
  // Summed from both ends, so that rounding does not pile up at one of them, and both ends are exact.
  const int64_t from_left = bins_ / 2;
  const int64_t from_right = bins_ - 1 - from_left;
  const Tensor left = sizes.narrow(-1, 0, from_left).cumsum(-1) - bound_;
  const Tensor right = bound_ - sizes.narrow(-1, bins_ - from_right, from_right).flip(-1).cumsum(-1).flip(-1);
  const Tensor end = torch::full_like(raw.narrow(-1, 0, 1), bound_);
  return torch::cat({-end, left, right, end}, -1);
}

Tensor RationalQuadraticSpline::Slopes(const Tensor& theta) const {
  const auto slopes = [this](const Tensor& raw) {
    return soft_clip_ ? SoftClip(raw, -std::log(min_slope_)).exp()
                      : min_slope_ + Softplus(raw + InverseSoftplus(1 - min_slope_));
  };
  const Tensor inner = slopes(theta.narrow(-1, 2 * bins_, bins_ - 1));
  const Tensor end = circular_ ? slopes(theta.narrow(-1, 3 * bins_ - 1, 1)) : torch::ones_like(theta.narrow(-1, 0, 1));
  return torch::cat({end, inner, end}, -1);
}

Tensor RationalQuadraticSpline::HalfTurn(const Tensor& like) const { return torch::full({}, bound_, like.options()); }

Tensor RationalQuadraticSpline::Turned(const Tensor& numbers, const Tensor& angle) const {
  const Tensor sum = numbers + angle;
  const Tensor turns = torch::floor((sum.detach() + bound_) / (2 * bound_));
  // Both ends are the same point; a number at one of them stays there.
  const Tensor wrapped = torch::where(sum.abs() <= bound_, sum, sum - 2 * bound_ * turns);
  return wrapped.clamp(-bound_, bound_);
}

RationalQuadraticSpline::Bin RationalQuadraticSpline::FindBin(const Tensor& numbers, const Tensor& theta,
                                                              bool numbers_are_x) const {
  const Tensor x_knots = Knots(theta.narrow(-1, 0, bins_), min_width_);
  const Tensor z_knots = Knots(theta.narrow(-1, bins_, bins_), min_height_);
  const Tensor slopes = Slopes(theta);
  const Tensor inner_knots = (numbers_are_x ? x_knots : z_knots).narrow(-1, 1, bins_ - 1);
  const Tensor left = (numbers.unsqueeze(-1) >= inner_knots).sum(-1, /*keepdim=*/true);
  const Tensor right = left + 1;
  const auto at = [](const Tensor& knots, const Tensor& index) { return knots.gather(-1, index).squeeze(-1); };
  Bin bin;
  bin.x = at(x_knots, left);
  bin.z = at(z_knots, left);
  bin.width = at(x_knots, right) - bin.x;
  bin.height = at(z_knots, right) - bin.z;
  bin.slope = bin.height / bin.width;
  bin.left_slope = at(slopes, left);
  bin.right_slope = at(slopes, right);
  return bin;
}

MappedColumns RationalQuadraticSpline::WithTails(const Tensor& numbers, const MappedColumns& mapped) const {
  const Tensor inside = numbers.abs() <= bound_;
  return {torch::where(inside, mapped.value, numbers), mapped.log_slope.masked_fill(inside.logical_not(), 0)};
}

}  // namespace densityd::flow
