// Which column makes a row surprising, and what was expected there: exact conditionals of a density, by quadrature.
//
// Log p itself is computed elsewhere, in batches:
//
//   Explainer explainer(rows, features, columns, ranges, options);
//   while (!explainer.is_done()) {
//     ... log_prob = log p at explainer.points() ...
//     explainer.Take(log_prob);
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "server/explain/conditional.h"

namespace densityd::explain {

struct ExplainOptions {
  double tolerance = 1e-3;   ///< wanted relative error of each integral
  double noise = 0;          ///< relative error of a density where log p is 0 …
  double noise_per_nat = 0;  ///< … and what each nat of |log p| adds
  size_t max_nodes_per_column = 3000;
  size_t batch_points = 4096;  ///< about as many points are asked for at once
};

/// Not thread-safe. Memory: about batch_points (D + 64) numbers, beside rows and answers.
class Explainer {
 public:
  /// Explains `columns` of `rows`, (N, D) row-major; `ranges` are those of the columns, (J).
  Explainer(std::vector<double> rows, size_t features, std::vector<uint32_t> columns, std::vector<ColumnRange> ranges,
            const ExplainOptions& options);

  bool is_done() const { return origin_.empty(); }
  size_t features() const { return features_; }
  /// Whether the points are the rows as they are, which is so at the beginning.
  bool asks_rows() const { return log_prob_.empty(); }
  /// Points x whose log p is wanted, (n, D) row-major. Point i differs from row origin()[i] in one column at most, and
  /// shares its context.
  absl::Span<const double> points() const { return points_; }
  absl::Span<const uint32_t> origin() const { return origin_; }
  /// The column in which point `point` differs from its row.
  std::optional<size_t> ChangedColumn(size_t point) const;

  /// How far log p of each row, and of points along its columns, may be off, (N), nats: estimates have standard errors.
  /// Precondition: asks_rows. Without it: 0, beside the noise of the options.
  void SetErrors(std::vector<double> errors) { errors_ = std::move(errors); }
  /// Takes log p of the points, (n), in nats; -infinity outside of the support, NaN where it is not a number.
  void Take(absl::Span<const double> log_prob);

  /// log p of the rows, (N), nats, or NaN. Precondition of both: is_done.
  const std::vector<double>& log_prob() const { return log_prob_; }
  /// (N, J), row-major.
  const std::vector<ColumnAnswer>& answers() const { return answers_; }

 private:
  /// A conditional that is being integrated.
  struct Active {
    size_t answer;  ///< index in answers_
    Conditional conditional;
    size_t wanted = 0;  ///< points of this round
  };

  void Begin();
  void Ask();
  /// Adds the points that `one` wants next, or takes its answer.
  void Go(Active& one);
  /// Row `row` with column `column` replaced by each of `values`.
  void AddPoints(size_t row, size_t column, absl::Span<const double> values);

  const std::vector<double> rows_;
  const size_t features_;
  const std::vector<uint32_t> columns_;
  const std::vector<ColumnRange> ranges_;
  const ExplainOptions options_;
  std::vector<double> points_;
  std::vector<uint32_t> origin_;
  std::vector<Active> active_;
  size_t begun_ = 0;  ///< pairs of row and column that were begun
  std::vector<double> nodes_;
  std::vector<double> errors_;  ///< of the rows; empty: none
  std::vector<double> log_prob_;
  std::vector<ColumnAnswer> answers_;
};

}  // namespace densityd::explain
