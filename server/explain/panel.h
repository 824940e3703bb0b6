// An interval of one column, with a density known at some of its points.
#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <vector>

#include "absl/types/span.h"

namespace densityd::explain {

/// Gauss-Kronrod rule with 15 nodes; the Gauss rule on every second of them estimates its error (Kronrod 1965;
/// QUADPACK, Piessens et al. 1983).
///
/// Of a column of integers a panel's mass is the sum over those inside. Up to 15 of them are added up. More are taken
/// for the integral of the density between them, which differs by what the Euler-Maclaurin formula leaves of the
/// midpoint rule, (f'(high) - f'(low)) / 24; that counts as error.
class Panel {
 public:
  static constexpr size_t kNodes = 15;

  /// The interval [low, high], in the column's units. Precondition: low < high; for integers both lie in the middle
  /// between two of them.
  Panel(double low, double high, bool is_whole = false);

  double low() const { return low_; }
  double high() const { return high_; }
  /// Whether its mass is a sum over all values inside.
  bool is_sum() const { return is_sum_; }

  /// Appends where the density is wanted, ascending, strictly inside the interval.
  void AppendNodes(std::vector<double>& nodes) const;
  /// How many those are, at most kNodes.
  size_t nodes() const { return nodes_; }
  /// Log densities at the nodes, in nats; -infinity where there is none.
  void SetLogDensity(absl::Span<const double> log_density);
  bool has_values() const { return has_values_; }
  /// The largest of them.
  double max_log_density() const;
  /// Moves the interval. The density at its nodes stays.
  void Move(double by);

  /// Integral, or sum, of density * exp(-shift) over the interval.
  double Mass(double shift) const;
  /// A cautious estimate of its error: |difference of the two rules|, and what takes integers for a continuum. 0 of
  /// sums.
  double Error(double shift) const;
  /// density * exp(-shift) at the first node, and the last: what is left of it where the interval ends.
  double LeftDensity(double shift) const { return Density(0, shift); }
  double RightDensity(double shift) const { return Density(nodes_ - 1, shift); }
  /// The point below which `mass` of the interval's Mass(shift) lies, by integrating the polynomial through the nodes.
  /// Of integers: the smallest up to which so much lies.
  double Quantile(double mass, double shift) const;
  /// Integral of density(x) * exp(-shift + 2 pi i x / period).
  std::complex<double> Direction(double shift, double period) const;

 private:
  double Density(size_t node, double shift) const;
  double Node(size_t node) const;
  double ContinuousQuantile(double mass, double shift) const;

  double low_;
  double high_;
  bool is_whole_;
  bool is_sum_;
  size_t nodes_;
  bool has_values_ = false;
  std::array<double, kNodes> log_density_{};
};

}  // namespace densityd::explain
