#include "server/flow/mixture_cdf.h"

#include <cmath>
#include <numbers>

#include "server/flow/monotone_solve.h"

namespace densityd::flow {
namespace {

// The square of the components' scale at the start; their means spread the rest of G's variance.
constexpr double kStartSquare = 0.5;
const double kLogRootTwoPi = 0.5 * std::log(2 * std::numbers::pi);

// The quantile of G at p.
double Quantile(bool logistic, double p) {
  if (logistic) return std::log(p) - std::log1p(-p);
  return torch::special_ndtri(torch::full({}, p, torch::kFloat64)).item<double>();
}

std::vector<double> MeanStarts(bool logistic, int64_t components) {
  std::vector<double> starts;
  double square = 0;
  for (int64_t k = 0; k < components; ++k) {
    starts.push_back(Quantile(logistic, (static_cast<double>(k) + 0.5) / static_cast<double>(components)));
    square += starts.back() * starts.back();
  }
  const double variance = logistic ? std::numbers::pi * std::numbers::pi / 3 : 1;
  const double factor = std::sqrt((1 - kStartSquare) * variance * static_cast<double>(components) / square);
  for (double& start : starts) start *= factor;
  return starts;
}

// log(2 Phi(u)) + u^2 / 2 of u <= 0.
Tensor LogScaledTail(const Tensor& u) { return torch::special_erfcx(-u / std::numbers::sqrt2).log(); }

// log Phi(u). The derivative that LibTorch has for log_ndtr loses its digits from -1e6 downwards, and is infinite at
// -1e10.
Tensor LogNormalCdf(const Tensor& u) {
  const Tensor below = u.clamp_max(0);
  return torch::where(u < 0, LogScaledTail(below) - 0.5 * below.square() - std::numbers::ln2,
                      torch::special_log_ndtr(u.clamp_min(0)));
}

// log G(u).
Tensor LogCdf(bool logistic, const Tensor& u) { return logistic ? torch::log_sigmoid(u) : LogNormalCdf(u); }

// log of G'(u) / G(u), without cancellation in the lower tail, where it grows like -u for a normal G.
Tensor LogRelativeSlope(bool logistic, const Tensor& u) {
  if (logistic) return torch::log_sigmoid(-u);
  const Tensor below = u.clamp_max(0);
  const Tensor above = u.clamp_min(0);
  const Tensor of_below = 0.5 * std::log(2 / std::numbers::pi) - LogScaledTail(below);
  const Tensor of_above = -0.5 * above.square() - kLogRootTwoPi - torch::special_log_ndtr(above);
  return torch::where(u < 0, of_below, of_above);
}

// The z <= 0 of log Phi(z) = log_p.
Tensor NormalQuantile(const Tensor& log_p) {
  Tensor z;
  {
    const torch::NoGradGuard no_grad;
    const Tensor deep = log_p < -5;
    const Tensor tail = -2 * log_p.clamp_max(-5);
    z = torch::where(deep, -(tail - (2 * std::numbers::pi * tail).log()).sqrt(),
                     torch::special_ndtri(log_p.clamp_min(-5).exp()));
    // Quadratic convergence from three digits.
    for (int step = 0; step < 4; ++step) {
      z = z - (torch::special_log_ndtr(z) - log_p) * (-LogRelativeSlope(false, z)).exp();
    }
  }
  // One more step, which has the derivative.
  return z - (torch::special_log_ndtr(z) - log_p) * (-LogRelativeSlope(false, z)).exp();
}

// The z <= 0 of log G(z) = log_p.
Tensor LowerQuantile(bool logistic, const Tensor& log_p) {
  return logistic ? log_p - torch::log(-torch::expm1(log_p)) : NormalQuantile(log_p);
}

}  // namespace

// Each field (N, columns, K).
struct MixtureCdf::Mixture {
  Tensor log_weight;
  Tensor mean;
  Tensor log_scale;
};

MixtureCdf::MixtureCdf(const density::v1::MixtureCdf& spec)
    : logistic_(spec.family() == density::v1::MixtureCdf::LOGISTIC),
      components_(spec.components()),
      layers_(spec.layers()),
      max_log_scale_(spec.max_log_scale()),
      mean_starts_(MeanStarts(logistic_, components_)) {}

MixtureCdf::Mixture MixtureCdf::Layer(const Tensor& theta, int64_t layer) const {
  const auto part = [&](int64_t i) { return theta.narrow(2, (3 * layer + i) * components_, components_); };
  const Tensor starts = torch::tensor(mean_starts_, theta.options());
  return {part(0).log_softmax(2), part(1) + starts, SoftBound(part(2), max_log_scale_) + 0.5 * std::log(kStartSquare)};
}

MappedColumns MixtureCdf::Gaussianize(const Tensor& x, const Mixture& mixture) const {
  const Tensor standard = (x.unsqueeze(2) - mixture.mean) * (-mixture.log_scale).exp();
  Tensor sign;
  {
    const torch::NoGradGuard no_grad;
    const Tensor log_cdf = (mixture.log_weight + LogCdf(logistic_, standard)).logsumexp(2);
    sign = torch::ones_like(x).masked_fill(log_cdf > -std::numbers::ln2, -1);
  }
  // Mirrored, if need be, into the lower half, where the logarithm of the distribution function has all its digits.
  const Tensor u = standard * sign.unsqueeze(2);
  const Tensor log_share = mixture.log_weight + LogCdf(logistic_, u);
  const Tensor z = LowerQuantile(logistic_, log_share.logsumexp(2));
  // dz/dx = sum_k r_k (G'/G)(u_k) / s_k over (G'/G)(z), with the components' shares r in G(z).
  const Tensor log_slope =
      (log_share.log_softmax(2) + LogRelativeSlope(logistic_, u) - mixture.log_scale).logsumexp(2) -
      LogRelativeSlope(logistic_, z);
  return {z * sign, log_slope};
}

MappedColumns MixtureCdf::Inverse(const Tensor& x, const Tensor& theta) const {
  const Tensor exact = theta.to(torch::kFloat64);
  Tensor z = x.to(torch::kFloat64);
  Tensor log_slope = torch::zeros_like(z);
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const MappedColumns mapped = Gaussianize(z, Layer(exact, layer));
    z = mapped.value;
    log_slope = log_slope + mapped.log_slope;
  }
  return {z.to(x.scalar_type()), log_slope.to(x.scalar_type())};
}

MappedColumns MixtureCdf::Forward(const Tensor& z, const Tensor& theta) const {
  const Tensor exact = theta.to(torch::kFloat64);
  Tensor x = z.to(torch::kFloat64);
  Tensor log_slope = torch::zeros_like(x);
  for (int64_t layer = layers_ - 1; layer >= 0; --layer) {
    const Mixture mixture = Layer(exact, layer);
    const auto map = [&](const Tensor& at) { return Gaussianize(at, mixture); };
    // Each component alone maps its own one of these to z; the mixture's lies between them.
    const Tensor alone = mixture.mean + mixture.log_scale.exp() * x.unsqueeze(2);
    const Tensor margin = 1e-9 * (1 + x.abs());
    x = SolveMonotone(map, x, alone.amin(2) - margin, alone.amax(2) + margin);
    log_slope = log_slope - map(x).log_slope;
  }
  return {x.to(z.scalar_type()), log_slope.to(z.scalar_type())};
}

}  // namespace densityd::flow
