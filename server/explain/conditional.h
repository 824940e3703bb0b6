// The distribution of one column given all others, p(x_j | x_-j), from log p(x) alone.
//
// p(x_j | x_-j) = p(x) / integral of p over column j. The integral is taken by adaptive quadrature: panels where the
// two rules of a Gauss-Kronrod pair differ are halved; where the density has not died out at an end, another panel is
// added there. All densities are needed in batches, so this is a state machine: it says at which points it wants log p
// next, and is told the values. Where a column has a list of values, the integral is their sum, and exact. Over
// integers it is a sum, too: exact around the usual ones, and further out, where there are too many, as panel.h says.
//
// A circle is cut open opposite to the mean direction of p(x_j | x_-j), so that tails and quantiles do not depend on
// where its numbers begin.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "server/explain/panel.h"

namespace densityd::explain {

/// What is known of a column before anything is asked, in its units.
struct ColumnRange {
  double min = -1;  ///< smallest and largest usual value
  double max = 1;
  double center = 0;                                              ///< a usual value
  double spread = 1;                                              ///< > 0; its standard deviation
  double support_low = -std::numeric_limits<double>::infinity();  ///< outside of these the density is zero
  double support_high = std::numeric_limits<double>::infinity();
  /// Categories: all values that there are, ascending. Null: the column has numbers.
  std::shared_ptr<const std::vector<double>> values;
  bool is_whole = false;   ///< integers strictly between the ends of the support
  bool is_circle = false;  ///< angles; the ends of the support are one point of it
};

struct QuadratureOptions {
  double tolerance = 1e-3;       ///< wanted relative error of the integral
  double tail_tolerance = 0.02;  ///< wanted relative error of a tail's probability
  double noise = 0;              ///< relative error of a density where log p is 0 …
  double noise_per_nat = 0;      ///< … and what each nat of |log p| adds; no panel is halved for less
  size_t max_nodes = 3000;       ///< log p is asked at most at so many points, and one round more
};

/// What one column looks like, given the others.
///
/// There is no distribution of a column where the density is zero whatever its value is, since another column has one
/// that cannot be. Then its quantiles and `error` are NaN; so are `surprise` and `tail_probability`, unless the
/// column's own value cannot be either. Where the density of the row, or of a point that its integral needs, is not a
/// number, since numbers on the way overflow, all of an answer is NaN.
struct ColumnAnswer {
  double surprise = 0;          ///< -log p(x_j | x_-j), nats; infinity where x_j cannot be
  double tail_probability = 0;  ///< 2 min(P(X_j <= x_j | x_-j), P(X_j >= x_j | x_-j)), at most 1; 0 where x_j cannot be
  double median = 0;            ///< conditional quantiles, in the column's units
  double lower = 0;             ///< 5 %
  double upper = 0;             ///< 95 %; on a circle the way from `lower` to it may lead across the ends
  double error = 0;             ///< estimated relative error of the integral; about that of `surprise` in nats
};

/// One row and column. Not thread-safe.
class Conditional {
 public:
  /// `value` is x_j, `log_density` is log p(x) of the row as it is, in nats, or NaN.
  Conditional(double value, double log_density, const ColumnRange& range, const QuadratureOptions& options);

  /// Appends to `nodes` the values of column j at which log p is wanted next. Nothing when it is done.
  void Want(std::vector<double>& nodes);
  /// Takes log p at those values, in the same order; NaN where it is not a number.
  void Take(absl::Span<const double> log_density);

  /// Precondition: Want appended nothing.
  ColumnAnswer Answer() const;

 private:
  struct Sums;
  Sums Sum() const;
  double Error(const Panel& panel) const;
  /// Relative error of a density itself.
  double Noise(double log_density) const;
  /// Wanted relative error of the integral: what its noise allows.
  double Tolerance() const;
  bool HasAllValues() const;
  /// Halves panels whose error matters.
  void Halve(const Sums& sums);
  /// Adds panels at the ends where the density has not died out.
  void Extend(const Sums& sums);
  /// Lets a circle begin opposite to its mean direction.
  void Cut();
  /// The angle of a point of the circle that was cut; other numbers as they are.
  double Unwind(double x) const;
  /// Ends the search: there is no answer.
  void GiveUp();
  /// The answer where the density is zero everywhere.
  ColumnAnswer NoAnswer() const;
  ColumnAnswer AnswerOfValues() const;
  bool IsLeft(const Panel& panel) const { return panel.high() <= value_low_; }
  bool IsRight(const Panel& panel) const { return panel.low() >= value_high_; }
  double Quantile(double share, const Sums& sums) const;

  double value_;
  double value_low_;  ///< ends of what the value stands for: an integer's cell; other numbers stand for themselves
  double value_high_;
  double log_density_;
  ColumnRange range_;
  QuadratureOptions options_;
  std::vector<Panel> panels_;  ///< ascending, without gaps; `value_low_` is an end of one, or of all
  double shift_;               ///< largest log density at the nodes and at the value: what densities are relative to
  size_t nodes_ = 0;
  double left_step_;  ///< width of the next panel on the left, and right
  double right_step_;
  bool is_cut_ = false;
  bool is_unknown_ = false;            ///< a density is not a number
  std::vector<double> log_densities_;  ///< at range_.values
};

}  // namespace densityd::explain
