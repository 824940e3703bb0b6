// Monotone rational-quadratic splines with linear tails (Gregory & Delbourgo 1982; Durkan et al. 2019, section 3.1).
#pragma once

#include "density/v1/flow_spec.pb.h"
#include "server/flow/univariate.h"

namespace densityd::flow {

/// z = s(x; theta), a spline of K bins on [-B, B] and the identity outside; so x = f(z; theta) is its inverse, also in
/// closed form. Per column theta has 3 K - 1 numbers, from which follow
///   - K bin widths in x, 2 B (m + (1 - K m) softmax(theta[0 … K-1])), m the smallest share of the interval;
///   - K bin heights in z, in the same way from theta[K … 2K-1];
///   - the slopes at the K - 1 inner knots, m + softplus(theta[2K …] + c), with c such that 0 gives slope 1.
/// The other parameterization, SOFT_CLIP, is described in flow_spec.proto. The slopes at both ends are 1. On a circle,
/// whose two ends are one point, theta has two numbers more, from which follow
///   - the slope at both ends, as those at the inner knots, from theta[3K-1];
///   - a turn t = theta[3K] of the circle: z = s(x) + t, brought back into [-B, B] by whole turns of 2 B.
/// All-zero theta is the identity. What is on a circle, rounded_ends.h says.
class RationalQuadraticSpline final : public Univariate {
 public:
  /// Precondition: `spec` is checked and has its defaults.
  RationalQuadraticSpline(const density::v1::RationalQuadraticSpline& spec, bool circular);
  MappedColumns Forward(const Tensor& z, const Tensor& theta) const override;
  MappedColumns Inverse(const Tensor& x, const Tensor& theta) const override;

 private:
  struct Bin;
  // Numbers of a circle that rounding has put beyond its ends, at the ends; other numbers, and those of an interval, as
  // they are.
  Tensor OnCircle(const Tensor& numbers) const;
  // Sizes of the bins as shares of the interval, from K raw numbers each.
  Tensor Shares(const Tensor& raw, double minimum) const;
  Tensor Knots(const Tensor& raw, double minimum) const;
  Tensor Slopes(const Tensor& theta) const;
  Tensor HalfTurn(const Tensor& like) const;
  // The circle's turn by `angle`.
  Tensor Turned(const Tensor& numbers, const Tensor& angle) const;
  // The bin of each number: of x by the knots in x, of z by those in z.
  Bin FindBin(const Tensor& numbers, const Tensor& theta, bool numbers_are_x) const;
  // `mapped` within [-B, B], the identity outside.
  MappedColumns WithTails(const Tensor& numbers, const MappedColumns& mapped) const;

  const int64_t bins_;
  const double bound_;
  const bool soft_clip_;
  const double min_width_;
  const double min_height_;
  const double min_slope_;
  const bool half_turn_;  // a circle that is turned before the spline
  const bool circular_;   // a circle that is turned behind it
};

}  // namespace densityd::flow
