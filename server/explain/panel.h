// An interval of one column, with a density known at the nodes of a Gauss-Kronrod rule.
#pragma once

#include <array>
#include <cstddef>

#include "absl/types/span.h"

namespace densityd::explain {

/// Gauss-Kronrod rule with 15 nodes; the Gauss rule on every second of them estimates its error (Kronrod 1965;
/// QUADPACK, Piessens et al. 1983).
class Panel {
 public:
  static constexpr size_t kNodes = 15;

  /// The interval [low, high], in the column's units. Precondition: low < high.
  Panel(double low, double high) : low_(low), high_(high) {}

  double low() const { return low_; }
  double high() const { return high_; }

  /// Where the density is wanted, ascending, strictly inside the interval.
  std::array<double, kNodes> Nodes() const;
  /// Log densities at the nodes, in nats; -infinity where there is none.
  void SetLogDensity(absl::Span<const double> log_density);
  bool has_values() const { return has_values_; }
  /// The largest of them.
  double max_log_density() const;

  /// Integral of density * exp(-shift) over the interval.
  double Mass(double shift) const;
  /// |difference of the two rules| of that integral: a cautious estimate of its error.
  double Error(double shift) const;
  /// density * exp(-shift) at the first node, and the last: what is left of it where the interval ends.
  double LeftDensity(double shift) const { return Density(0, shift); }
  double RightDensity(double shift) const { return Density(kNodes - 1, shift); }
  /// The point below which `mass` of the interval's Mass(shift) lies, by integrating the polynomial through the nodes.
  double Quantile(double mass, double shift) const;

 private:
  double Density(size_t node, double shift) const;

  double low_;
  double high_;
  bool has_values_ = false;
  std::array<double, kNodes> log_density_{};
};

}  // namespace densityd::explain
