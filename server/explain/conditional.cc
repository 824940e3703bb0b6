#include "server/explain/conditional.h"

#include <algorithm>
#include <cmath>

namespace densityd::explain {
namespace {

// Share of a panel that lies outside of its outermost node.
constexpr double kEndCell = 0.0043;

// Ends of the first panels, ascending: narrow ones around the usual values and around the value in question, which is
// itself an end, so that the masses on its two sides are sums of panels.
std::vector<double> FirstEnds(double value, const ColumnRange& range) {
  std::vector<double> ends = {value, value - range.spread, value + range.spread, range.min, range.max};
  for (int i = -4; i <= 4; ++i) ends.push_back(range.center + i * range.spread);
  for (double& end : ends) end = std::clamp(end, range.support_low, range.support_high);
  std::sort(ends.begin(), ends.end());
  std::vector<double> apart;
  for (double end : ends) {
    const bool is_value = end == value;
    if (!apart.empty() && end - apart.back() < 1e-3 * range.spread) {
      if (is_value) apart.back() = value;
    } else {
      apart.push_back(end);
    }
  }
  // A support that is narrow against the spread.
  if (apart.size() < 2) apart = {range.support_low, range.support_high};
  return apart;
}

}  // namespace

// Masses and their errors on both sides of the value.
struct Conditional::Sums {
  double left = 0;
  double right = 0;
  double left_error = 0;
  double right_error = 0;
  size_t left_panels = 0;
  size_t right_panels = 0;

  double mass() const { return left + right; }
  double error() const { return left_error + right_error; }
};

Conditional::Conditional(double value, double log_density, const ColumnRange& range, const QuadratureOptions& options)
    : value_(value),
      log_density_(log_density),
      range_(range),
      options_(options),
      shift_(log_density),
      left_step_(range.spread),
      right_step_(range.spread) {
  if (range.values != nullptr) return;
  const std::vector<double> ends = FirstEnds(value, range);
  for (size_t i = 0; i + 1 < ends.size(); ++i) panels_.emplace_back(ends[i], ends[i + 1]);
}

void Conditional::Want(std::vector<double>& nodes) {
  if (range_.values != nullptr && log_densities_.empty()) {
    nodes.insert(nodes.end(), range_.values->begin(), range_.values->end());
  }
  for (const Panel& panel : panels_) {
    if (panel.has_values()) continue;
    const auto wanted = panel.Nodes();
    nodes.insert(nodes.end(), wanted.begin(), wanted.end());
  }
}

void Conditional::Take(absl::Span<const double> log_density) {
  if (range_.values != nullptr) {
    log_densities_.assign(log_density.begin(), log_density.end());
    return;
  }
  nodes_ += log_density.size();
  for (Panel& panel : panels_) {
    if (panel.has_values()) continue;
    panel.SetLogDensity(log_density.subspan(0, Panel::kNodes));
    log_density.remove_prefix(Panel::kNodes);
  }
  shift_ = log_density_;
  for (const Panel& panel : panels_) shift_ = std::max(shift_, panel.max_log_density());
  if (nodes_ >= options_.max_nodes || !std::isfinite(shift_)) return;
  const Sums sums = Sum();
  Extend(sums);
  Halve(sums);
}

double Conditional::Error(const Panel& panel) const {
  double error = panel.Error(shift_);
  // The density at the value is known too. Where a panel's outermost node does not see it, a peak hides between them.
  const double density = std::exp(log_density_ - shift_);
  const double cell = kEndCell * (panel.high() - panel.low());
  if (panel.low() == value_) error += std::abs(density - panel.LeftDensity(shift_)) * cell;
  if (panel.high() == value_) error += std::abs(density - panel.RightDensity(shift_)) * cell;
  return error;
}

Conditional::Sums Conditional::Sum() const {
  Sums sums;
  for (const Panel& panel : panels_) {
    const bool is_left = IsLeft(panel);
    (is_left ? sums.left : sums.right) += panel.Mass(shift_);
    (is_left ? sums.left_error : sums.right_error) += Error(panel);
    ++(is_left ? sums.left_panels : sums.right_panels);
  }
  return sums;
}

void Conditional::Halve(const Sums& sums) {
  // The integral is to be right, and so is the smaller side: a tail's probability is asked for as such.
  const bool left_is_tail = sums.left < sums.right;
  const double tail = left_is_tail ? sums.left : sums.right;
  const double tail_error = left_is_tail ? sums.left_error : sums.right_error;
  const bool is_good = sums.error() <= options_.tolerance * sums.mass();
  const bool tail_is_good = tail_error <= options_.tail_tolerance * tail;
  if (is_good && tail_is_good) return;

  const double share = options_.tolerance * sums.mass() / static_cast<double>(2 * panels_.size());
  const double tail_share =
      options_.tail_tolerance * tail /
      static_cast<double>(2 * std::max<size_t>(1, left_is_tail ? sums.left_panels : sums.right_panels));
  std::vector<Panel> panels;
  for (const Panel& panel : panels_) {
    const double error = panel.has_values() ? Error(panel) : 0;
    const bool matters = !is_good && error > share;
    const bool matters_in_tail = !tail_is_good && IsLeft(panel) == left_is_tail && error > tail_share;
    const bool is_noise = error <= 2 * options_.noise * (panel.has_values() ? panel.Mass(shift_) : 0);
    const double middle = panel.low() + (panel.high() - panel.low()) / 2;
    if ((matters || matters_in_tail) && !is_noise && middle > panel.low() && middle < panel.high()) {
      panels.emplace_back(panel.low(), middle);
      panels.emplace_back(middle, panel.high());
    } else {
      panels.push_back(panel);
    }
  }
  panels_ = std::move(panels);
}

void Conditional::Extend(const Sums& sums) {
  const auto lives_on = [&](double density, double step, double side) {
    const double rest = density * step;
    return rest > options_.tolerance / 4 * sums.mass() ||
           (side <= sums.mass() / 2 && rest > options_.tail_tolerance / 4 * side);
  };
  const Panel first = panels_.front();
  const Panel last = panels_.back();
  if (first.low() > range_.support_low && lives_on(first.LeftDensity(shift_), left_step_, sums.left)) {
    const double low = std::max(range_.support_low, first.low() - left_step_);
    if (low < first.low() && std::isfinite(low)) {
      panels_.insert(panels_.begin(), Panel(low, first.low()));
      left_step_ *= 2;
    }
  }
  if (last.high() < range_.support_high && lives_on(last.RightDensity(shift_), right_step_, sums.right)) {
    const double high = std::min(range_.support_high, last.high() + right_step_);
    if (high > last.high() && std::isfinite(high)) {
      panels_.emplace_back(last.high(), high);
      right_step_ *= 2;
    }
  }
}

double Conditional::Quantile(double share, const Sums& sums) const {
  double rest = share * sums.mass();
  for (const Panel& panel : panels_) {
    const double mass = panel.Mass(shift_);
    if (rest <= mass) return panel.Quantile(rest, shift_);
    rest -= mass;
  }
  return panels_.back().high();
}

ColumnAnswer Conditional::AnswerOfValues() const {
  const std::vector<double>& values = *range_.values;
  const double shift = *std::max_element(log_densities_.begin(), log_densities_.end());
  double mass = 0;
  double left = 0;   // of values up to this one
  double right = 0;  // from this one on
  for (size_t i = 0; i < values.size(); ++i) {
    const double density = std::exp(log_densities_[i] - shift);
    mass += density;
    if (values[i] <= value_) left += density;
    if (values[i] >= value_) right += density;
  }
  const auto quantile = [&](double share) {
    double rest = share * mass;
    for (size_t i = 0; i < values.size(); ++i) {
      rest -= std::exp(log_densities_[i] - shift);
      if (rest <= 0) return values[i];
    }
    return values.back();
  };
  ColumnAnswer answer;
  answer.surprise = shift + std::log(mass) - log_density_;
  answer.tail_probability = std::min(1.0, 2 * std::min(left, right) / mass);
  answer.median = quantile(0.5);
  answer.lower = quantile(0.05);
  answer.upper = quantile(0.95);
  answer.error = options_.noise;
  return answer;
}

ColumnAnswer Conditional::Answer() const {
  if (range_.values != nullptr) return AnswerOfValues();
  const Sums sums = Sum();
  ColumnAnswer answer;
  answer.surprise = shift_ + std::log(sums.mass()) - log_density_;
  answer.tail_probability = std::min(1.0, 2 * std::min(sums.left, sums.right) / sums.mass());
  answer.median = Quantile(0.5, sums);
  answer.lower = Quantile(0.05, sums);
  answer.upper = Quantile(0.95, sums);
  answer.error = sums.error() / sums.mass() + options_.noise;
  return answer;
}

}  // namespace densityd::explain
