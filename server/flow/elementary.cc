#include "server/flow/elementary.h"

#include <cmath>
#include <limits>

namespace densityd::flow {
namespace {

constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();

// `map` of the numbers that are not `outside`. The others are replaced before the maths, not after it: the NaN of a
// branch that is not taken would poison the gradient.
template <typename Map>
MappedColumns Guarded(const Tensor& a, const Tensor& outside, double inside, Map map) {
  const MappedColumns mapped = map(a.masked_fill(outside, inside));
  return {mapped.value.masked_fill(outside, 0), mapped.log_slope.masked_fill(outside, kNegativeInfinity)};
}

}  // namespace

Tensor Softplus(const Tensor& a) { return -torch::log_sigmoid(-a); }

double InverseSoftplus(double positive) { return positive + std::log(-std::expm1(-positive)); }

Tensor SoftBound(const Tensor& raw, double c) { return c * torch::tanh(raw / c); }

Tensor SoftClip(const Tensor& raw, double c) { return raw / (1 + (raw / c).abs()); }

MappedColumns AffineMap(const Tensor& a, double scale, double shift) {
  return {a * scale + shift, torch::full_like(a, std::log(std::abs(scale)))};
}

MappedColumns ExpMap(const Tensor& a) { return {torch::exp(a), a}; }

MappedColumns SoftplusMap(const Tensor& a) { return {Softplus(a), torch::log_sigmoid(a)}; }

MappedColumns TanhMap(const Tensor& a) { return {torch::tanh(a), 2 * (std::log(2.0) - a + torch::log_sigmoid(2 * a))}; }

MappedColumns SigmoidMap(const Tensor& a, double alpha) {
  const double width = 1 - 2 * alpha;
  return {(torch::sigmoid(a) - alpha) / width, torch::log_sigmoid(a) + torch::log_sigmoid(-a) - std::log(width)};
}

MappedColumns LeakyReluMap(const Tensor& a, double slope) {
  const Tensor below = a < 0;
  return {torch::where(below, a * slope, a), torch::zeros_like(a).masked_fill(below, std::log(slope))};
}

MappedColumns LogMap(const Tensor& a) {
  return Guarded(a, a <= 0, 1, [](const Tensor& positive) -> MappedColumns {
    const Tensor log = torch::log(positive);
    return {log, -log};
  });
}

MappedColumns InverseSoftplusMap(const Tensor& a) {
  return Guarded(a, a <= 0, 1, [](const Tensor& positive) -> MappedColumns {
    const Tensor log = torch::log(-torch::expm1(-positive));
    return {positive + log, -log};
  });
}

MappedColumns AtanhMap(const Tensor& a) {
  return Guarded(a, (a <= -1).logical_or(a >= 1), 0, [](const Tensor& inside) -> MappedColumns {
    const Tensor above = torch::log1p(inside);
    const Tensor below = torch::log1p(-inside);
    return {(above - below) / 2, -(above + below)};
  });
}

MappedColumns LogitMap(const Tensor& a, double alpha) {
  const double width = 1 - 2 * alpha;
  const Tensor shrunk = a * width + alpha;
  return Guarded(shrunk, (shrunk <= 0).logical_or(shrunk >= 1), 0.5, [width](const Tensor& inside) -> MappedColumns {
    const Tensor log = torch::log(inside);
    const Tensor log_rest = torch::log1p(-inside);
    return {log - log_rest, std::log(width) - log - log_rest};
  });
}

}  // namespace densityd::flow
