#include "server/explain/explain.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::explain {
namespace {

// Collects points and asks for their densities in large calls.
class Batch {
 public:
  Batch(absl::Span<const double> rows, size_t features, const LogDensity& density, size_t max_points)
      : rows_(rows), features_(features), density_(density), max_points_(max_points) {}

  // Row `row` with column `column` replaced by each of `values`.
  void Add(uint32_t row, uint32_t column, absl::Span<const double> values) {
    for (double value : values) {
      const auto begin = rows_.begin() + static_cast<std::ptrdiff_t>(row * features_);
      points_.insert(points_.end(), begin, begin + static_cast<std::ptrdiff_t>(features_));
      points_[points_.size() - features_ + column] = value;
      origin_.push_back(row);
    }
  }

  // The densities of all points since the last call, in order.
  absl::StatusOr<absl::Span<const double>> Ask() {
    log_prob_.resize(origin_.size());
    for (size_t begin = 0; begin < origin_.size(); begin += max_points_) {
      const size_t count = std::min(max_points_, origin_.size() - begin);
      auto status =
          density_(absl::MakeSpan(points_).subspan(begin * features_, count * features_),
                   absl::MakeSpan(origin_).subspan(begin, count), absl::MakeSpan(log_prob_).subspan(begin, count));
      if (!status.ok()) return status;
    }
    for (size_t i = 0; i < log_prob_.size(); ++i) {
      if (std::isnan(log_prob_[i])) {
        return InternalError(absl::StrCat("the density of a point that differs from row ", origin_[i],
                                          " in one column is not a number"));
      }
    }
    evaluations_ += origin_.size();
    points_.clear();
    origin_.clear();
    return log_prob_;
  }

  size_t evaluations() const { return evaluations_; }

 private:
  absl::Span<const double> rows_;
  size_t features_;
  const LogDensity& density_;
  size_t max_points_;
  std::vector<double> points_;
  std::vector<uint32_t> origin_;
  std::vector<double> log_prob_;
  size_t evaluations_ = 0;
};

// A conditional that is being integrated, and where its answer goes.
struct Active {
  size_t answer;
  uint32_t row;
  uint32_t column;
  Conditional conditional;
  size_t wanted = 0;
};

}  // namespace

absl::StatusOr<Explanation> Explain(absl::Span<const double> rows, size_t features, absl::Span<const uint32_t> columns,
                                    absl::Span<const ColumnRange> ranges, const LogDensity& density,
                                    const ExplainOptions& options) {
  const size_t row_count = rows.size() / features;
  const size_t pairs = row_count * columns.size();
  Batch batch(rows, features, density, options.batch_points);
  Explanation explanation;
  for (uint32_t row = 0; row < row_count; ++row) batch.Add(row, 0, {&rows[row * features], 1});
  auto log_prob = batch.Ask();
  if (!log_prob.ok()) return log_prob.status();
  explanation.log_prob.assign(log_prob->begin(), log_prob->end());
  explanation.answers.resize(pairs);

  std::vector<Active> active;
  std::vector<double> nodes;
  size_t next = 0;
  while (next < pairs || !active.empty()) {
    size_t points = 0;
    for (Active& one : active) points += one.wanted;
    // Enough pairs to fill a call: as the first ones need fewer points, others begin.
    while (next < pairs && points < options.batch_points) {
      const auto row = static_cast<uint32_t>(next / columns.size());
      const size_t j = next % columns.size();
      const double log_density = explanation.log_prob[row];
      QuadratureOptions quadrature;
      quadrature.noise = options.noise + options.noise_per_nat * std::abs(log_density);
      quadrature.tolerance = std::max(options.tolerance, 4 * quadrature.noise);
      quadrature.max_nodes = options.max_nodes_per_column;
      active.push_back(
          {next, row, columns[j], Conditional(rows[row * features + columns[j]], log_density, ranges[j], quadrature)});
      points += 16 * Panel::kNodes;
      ++next;
    }
    for (Active& one : active) {
      nodes.clear();
      one.conditional.Want(nodes);
      one.wanted = nodes.size();
      batch.Add(one.row, one.column, nodes);
    }
    auto values = batch.Ask();
    if (!values.ok()) return values.status();
    absl::Span<const double> rest = *values;
    for (Active& one : active) {
      if (one.wanted == 0) {
        explanation.answers[one.answer] = one.conditional.Answer();
        continue;
      }
      one.conditional.Take(rest.subspan(0, one.wanted));
      rest.remove_prefix(one.wanted);
    }
    active.erase(std::remove_if(active.begin(), active.end(), [](const Active& one) { return one.wanted == 0; }),
                 active.end());
  }
  explanation.evaluations = batch.evaluations();
  return explanation;
}

}  // namespace densityd::explain
