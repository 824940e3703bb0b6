#include "server/explain/explainer.h"

#include <algorithm>
#include <utility>

namespace densityd::explain {
namespace {

// What the first round of a column asks for, about.
constexpr size_t kFirstPoints = 16 * Panel::kNodes;

}  // namespace

Explainer::Explainer(std::vector<double> rows, size_t features, std::vector<uint32_t> columns,
                     std::vector<ColumnRange> ranges, const ExplainOptions& options)
    : rows_(std::move(rows)),
      features_(features),
      columns_(std::move(columns)),
      ranges_(std::move(ranges)),
      options_(options),
      points_(rows_) {
  // First the rows as they are.
  const size_t count = rows_.size() / features_;
  for (size_t row = 0; row < count; ++row) origin_.push_back(static_cast<uint32_t>(row));
  answers_.resize(count * columns_.size());
}

void Explainer::Take(absl::Span<const double> log_prob) {
  if (log_prob_.empty()) {
    log_prob_.assign(log_prob.begin(), log_prob.end());
  } else {
    for (Active& one : active_) {
      one.conditional.Take(log_prob.subspan(0, one.wanted));
      log_prob.remove_prefix(one.wanted);
    }
  }
  points_.clear();
  origin_.clear();
  Ask();
}

void Explainer::Ask() {
  for (Active& one : active_) Go(one);
  active_.erase(std::remove_if(active_.begin(), active_.end(), [](const Active& one) { return one.wanted == 0; }),
                active_.end());
  // As columns need fewer points, or are done, others begin, so that batches stay large.
  while (begun_ < answers_.size() && (origin_.empty() || origin_.size() + kFirstPoints <= options_.batch_points)) {
    Begin();
  }
}

void Explainer::Begin() {
  const size_t row = begun_ / columns_.size();
  const size_t j = begun_ % columns_.size();
  QuadratureOptions quadrature;
  quadrature.tolerance = options_.tolerance;
  quadrature.noise = options_.noise + (errors_.empty() ? 0 : errors_[row]);
  quadrature.noise_per_nat = options_.noise_per_nat;
  quadrature.max_nodes = options_.max_nodes_per_column;
  active_.push_back(
      {begun_, Conditional(rows_[row * features_ + columns_[j]], log_prob_[row], ranges_[j], quadrature)});
  ++begun_;
  Go(active_.back());
  if (active_.back().wanted == 0) active_.pop_back();
}

void Explainer::Go(Active& one) {
  nodes_.clear();
  one.conditional.Want(nodes_);
  one.wanted = nodes_.size();
  if (one.wanted == 0) answers_[one.answer] = one.conditional.Answer();
  AddPoints(one.answer / columns_.size(), columns_[one.answer % columns_.size()], nodes_);
}

std::optional<size_t> Explainer::ChangedColumn(size_t point) const {
  for (size_t column = 0; column < features_; ++column) {
    if (points_[point * features_ + column] != rows_[origin_[point] * features_ + column]) return column;
  }
  return std::nullopt;
}

void Explainer::AddPoints(size_t row, size_t column, absl::Span<const double> values) {
  const auto begin = rows_.begin() + static_cast<std::ptrdiff_t>(row * features_);
  for (double value : values) {
    points_.insert(points_.end(), begin, begin + static_cast<std::ptrdiff_t>(features_));
    points_[points_.size() - features_ + column] = value;
    origin_.push_back(static_cast<uint32_t>(row));
  }
}

}  // namespace densityd::explain
