#include "server/explain/panel.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace densityd::explain {
namespace {

// Nodes of the Kronrod rule on [-1, 1], their weights, and the weights of the Gauss rule on nodes 1, 3 … 13.
constexpr std::array<double, Panel::kNodes> kNode = {
    -0.991455371120812639206854697526329, -0.949107912342758524526189684047851,
    -0.864864423359769072789712788640926, -0.741531185599394439863864773280788,
    -0.586087235467691130294144758457,    -0.405845151377397166906606412076961,
    -0.207784955007898467600689403773245, 0,
    0.207784955007898467600689403773245,  0.405845151377397166906606412076961,
    0.586087235467691130294144758457,     0.741531185599394439863864773280788,
    0.864864423359769072789712788640926,  0.949107912342758524526189684047851,
    0.991455371120812639206854697526329};
constexpr std::array<double, Panel::kNodes> kKronrod = {
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204, 0.104790010322250183839876322541518,
    0.140653259715525918745189590510238, 0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649, 0.209482141084727828012999174891714, 0.204432940075298892414161999234649,
    0.190350578064785409913256402421014, 0.169004726639267902826583426598550, 0.140653259715525918745189590510238,
    0.104790010322250183839876322541518, 0.063092092629978553290700663189204, 0.022935322010529224963732008058970};
constexpr std::array<double, 7> kGauss = {0.129484966168869693270611432679082, 0.279705391489276667901467771423780,
                                          0.381830050505118944950369775488975, 0.417959183673469387755102040816327,
                                          0.381830050505118944950369775488975, 0.279705391489276667901467771423780,
                                          0.129484966168869693270611432679082};

// Degree of the polynomial that Quantile integrates. The rule integrates polynomials up to degree 22 exactly, so the
// projection of such a polynomial on Legendre polynomials is exact.
constexpr size_t kDegree = 10;

// Legendre polynomials P_0 … P_{kDegree + 1} at t.
std::array<double, kDegree + 2> Legendre(double t) {
  std::array<double, kDegree + 2> p{};
  p[0] = 1;
  p[1] = t;
  for (size_t n = 1; n <= kDegree; ++n) {
    const auto k = static_cast<double>(n);
    p[n + 1] = ((2 * k + 1) * t * p[n] - k * p[n - 1]) / (k + 1);
  }
  return p;
}

}  // namespace

Panel::Panel(double low, double high, bool is_whole)
    : low_(low),
      high_(high),
      is_whole_(is_whole),
      is_sum_(is_whole && high - low <= kNodes),
      nodes_(is_sum_ ? static_cast<size_t>(std::ceil(high - low)) : kNodes) {}

double Panel::Node(size_t node) const {
  if (is_sum_) return low_ + 0.5 + static_cast<double>(node);
  const double middle = low_ + (high_ - low_) / 2;
  return std::clamp(middle + (high_ - low_) / 2 * kNode[node], low_, high_);
}

void Panel::AppendNodes(std::vector<double>& nodes) const {
  for (size_t i = 0; i < nodes_; ++i) nodes.push_back(Node(i));
}

void Panel::SetLogDensity(absl::Span<const double> log_density) {
  std::copy_n(log_density.begin(), nodes_, log_density_.begin());
  has_values_ = true;
}

double Panel::max_log_density() const {
  return *std::max_element(log_density_.begin(), log_density_.begin() + static_cast<std::ptrdiff_t>(nodes_));
}

void Panel::Move(double by) {
  low_ += by;
  high_ += by;
}

double Panel::Density(size_t node, double shift) const { return std::exp(log_density_[node] - shift); }

double Panel::Mass(double shift) const {
  double sum = 0;
  for (size_t i = 0; i < nodes_; ++i) sum += (is_sum_ ? 1 : kKronrod[i]) * Density(i, shift);
  return is_sum_ ? sum : sum * (high_ - low_) / 2;
}

double Panel::Error(double shift) const {
  if (is_sum_) return 0;
  double gauss = 0;
  for (size_t i = 0; i < kGauss.size(); ++i) gauss += kGauss[i] * Density(2 * i + 1, shift);
  const double error = std::abs(Mass(shift) - gauss * (high_ - low_) / 2);
  if (!is_whole_) return error;
  const auto slope = [&](size_t node) {
    return (Density(node + 1, shift) - Density(node, shift)) / (Node(node + 1) - Node(node));
  };
  return error + std::abs(slope(kNodes - 2) - slope(0)) / 24;
}

std::complex<double> Panel::Direction(double shift, double period) const {
  std::complex<double> sum = 0;
  for (size_t i = 0; i < nodes_; ++i) {
    sum += std::polar(kKronrod[i] * Density(i, shift), 2 * std::numbers::pi * Node(i) / period);
  }
  return sum * (high_ - low_) / 2.0;
}

double Panel::Quantile(double mass, double shift) const {
  // Integer k stands for the cell from k - 1/2 to k + 1/2.
  if (!is_sum_) {
    const double quantile = ContinuousQuantile(mass, shift);
    return is_whole_ ? std::ceil(quantile - 0.5) : quantile;
  }
  for (size_t i = 0; i + 1 < nodes_; ++i) {
    mass -= Density(i, shift);
    if (mass <= 0) return Node(i);
  }
  return Node(nodes_ - 1);
}

double Panel::ContinuousQuantile(double mass, double shift) const {
  std::array<double, kDegree + 1> coefficient{};
  for (size_t i = 0; i < kNodes; ++i) {
    const auto p = Legendre(kNode[i]);
    for (size_t n = 0; n <= kDegree; ++n) {
      coefficient[n] += (static_cast<double>(n) + 0.5) * kKronrod[i] * Density(i, shift) * p[n];
    }
  }
  // The integral of P_n from -1 to t is (P_{n+1}(t) - P_{n-1}(t)) / (2 n + 1).
  const auto below = [&](double t) {
    const auto p = Legendre(t);
    double sum = coefficient[0] * (t + 1);
    for (size_t n = 1; n <= kDegree; ++n) {
      sum += coefficient[n] * (p[n + 1] - p[n - 1]) / (2 * static_cast<double>(n) + 1);
    }
    return sum * (high_ - low_) / 2;
  };
  double left = -1;
  double right = 1;
  for (int i = 0; i < 52; ++i) {
    const double middle = (left + right) / 2;
    (below(middle) < mass ? left : right) = middle;
  }
  return low_ + (high_ - low_) * (left + 1) / 2;
}

}  // namespace densityd::explain
