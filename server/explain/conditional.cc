#include "server/explain/conditional.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <utility>

#include "server/explain/first_panels.h"
#include "server/flow/rounded_ends.h"

namespace densityd::explain {
namespace {

// Share of a panel that lies outside of its outermost node.
constexpr double kEndCell = 0.0043;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Categories are compared as flows compare them.
bool IsSame(double a, double b) { return static_cast<float>(a) == static_cast<float>(b); }

// Whether the column can have this value at all. That of an end of an open interval is zero.
bool CanBe(double value, const ColumnRange& range) {
  if (range.values != nullptr) {
    return std::any_of(range.values->begin(), range.values->end(), [&](double one) { return IsSame(one, value); });
  }
  if (range.is_circle) return flow::IsWithin(value, range.support_low, range.support_high);
  return value > range.support_low && value < range.support_high;
}

}  // namespace

// Masses and their errors on both sides of the value, and at the value where it is an integer.
struct Conditional::Sums {
  double left = 0;
  double at = 0;
  double right = 0;
  double left_error = 0;
  double right_error = 0;
  size_t left_panels = 0;
  size_t right_panels = 0;

  double mass() const { return left + at + right; }
  double error() const { return left_error + right_error; }
  double tail() const { return std::min(left, right) + at; }
};

Conditional::Conditional(double value, double log_density, const ColumnRange& range, const QuadratureOptions& options)
    : value_(range.is_circle ? flow::WithinEnds(value, range.support_low, range.support_high) : value),
      value_low_(range.is_whole ? CellLow(value_) : value_),
      value_high_(range.is_whole ? CellHigh(value_) : value_),
      log_density_(log_density),
      range_(range),
      options_(options),
      shift_(log_density),
      left_step_(range.is_whole ? std::ceil(range.spread) : range.spread),
      right_step_(left_step_) {
  if (range.values == nullptr) panels_ = FirstPanels(value_, range);
  if (std::isnan(log_density)) GiveUp();
}

void Conditional::GiveUp() {
  is_unknown_ = true;
  panels_.clear();
}

double Conditional::Noise(double log_density) const {
  return options_.noise + options_.noise_per_nat * (std::isfinite(log_density) ? std::abs(log_density) : 0);
}

double Conditional::Tolerance() const { return std::max(options_.tolerance, 4 * Noise(shift_)); }

bool Conditional::HasAllValues() const {
  return std::all_of(panels_.begin(), panels_.end(), [](const Panel& panel) { return panel.has_values(); });
}

void Conditional::Want(std::vector<double>& nodes) {
  if (range_.values != nullptr && log_densities_.empty() && !is_unknown_) {
    nodes.insert(nodes.end(), range_.values->begin(), range_.values->end());
  }
  const size_t begin = nodes.size();
  for (const Panel& panel : panels_) {
    if (!panel.has_values()) panel.AppendNodes(nodes);
  }
  for (size_t i = begin; i < nodes.size(); ++i) nodes[i] = Unwind(nodes[i]);
}

void Conditional::Take(absl::Span<const double> log_density) {
  if (std::any_of(log_density.begin(), log_density.end(), [](double number) { return std::isnan(number); })) {
    return GiveUp();
  }
  if (range_.values != nullptr) {
    log_densities_.assign(log_density.begin(), log_density.end());
    return;
  }
  nodes_ += log_density.size();
  for (Panel& panel : panels_) {
    if (panel.has_values()) continue;
    panel.SetLogDensity(log_density.subspan(0, panel.nodes()));
    log_density.remove_prefix(panel.nodes());
  }
  shift_ = log_density_;
  for (const Panel& panel : panels_) shift_ = std::max(shift_, panel.max_log_density());
  if (!std::isfinite(shift_) || panels_.empty()) return;
  const bool may_refine = nodes_ < options_.max_nodes;
  const Sums sums = Sum();
  if (may_refine) {
    if (!range_.is_circle) Extend(sums);
    Halve(sums);
  }
  if (!range_.is_circle || is_cut_ || !HasAllValues()) return;
  Cut();
  if (may_refine && HasAllValues()) Halve(Sum());
}

double Conditional::Error(const Panel& panel) const {
  if (panel.is_sum()) return 0;
  double error = panel.Error(shift_);
  // The density at the value is known too. Where a panel's outermost node does not see it, a peak hides between them.
  const double density = std::exp(log_density_ - shift_);
  const double cell = std::max(kEndCell * (panel.high() - panel.low()), value_high_ - value_low_);
  if (panel.low() == value_high_) error += std::abs(density - panel.LeftDensity(shift_)) * cell;
  if (panel.high() == value_low_) error += std::abs(density - panel.RightDensity(shift_)) * cell;
  return error;
}

Conditional::Sums Conditional::Sum() const {
  Sums sums;
  for (const Panel& panel : panels_) {
    if (IsLeft(panel)) {
      sums.left += panel.Mass(shift_);
      sums.left_error += Error(panel);
      ++sums.left_panels;
    } else if (IsRight(panel)) {
      sums.right += panel.Mass(shift_);
      sums.right_error += Error(panel);
      ++sums.right_panels;
    } else {
      sums.at += panel.Mass(shift_);
    }
  }
  return sums;
}

void Conditional::Halve(const Sums& sums) {
  // The integral is to be right, and so is the smaller side: a tail's probability is asked for as such.
  const bool left_is_tail = sums.left < sums.right;
  const double tail_error = left_is_tail ? sums.left_error : sums.right_error;
  const bool is_good = sums.error() <= Tolerance() * sums.mass();
  // The sides of a circle are known when it is cut.
  const bool has_sides = !range_.is_circle || is_cut_;
  const bool tail_is_good = !has_sides || tail_error <= options_.tail_tolerance * sums.tail();
  if (is_good && tail_is_good) return;

  const double share = Tolerance() * sums.mass() / static_cast<double>(2 * panels_.size());
  const double tail_share =
      options_.tail_tolerance * sums.tail() /
      static_cast<double>(2 * std::max<size_t>(1, left_is_tail ? sums.left_panels : sums.right_panels));
  std::vector<Panel> panels;
  for (const Panel& panel : panels_) {
    const double error = panel.has_values() ? Error(panel) : 0;
    const bool matters = !is_good && error > share;
    const bool is_in_tail = left_is_tail ? IsLeft(panel) : IsRight(panel);
    const bool matters_in_tail = !tail_is_good && is_in_tail && error > tail_share;
    const bool is_noise = panel.has_values() && error <= 2 * Noise(panel.max_log_density()) * panel.Mass(shift_);
    double middle = panel.low() + (panel.high() - panel.low()) / 2;
    if (range_.is_whole) middle = CellHigh(middle);
    if ((matters || matters_in_tail) && !is_noise && middle > panel.low() && middle < panel.high()) {
      panels.emplace_back(panel.low(), middle, range_.is_whole);
      panels.emplace_back(middle, panel.high(), range_.is_whole);
    } else {
      panels.push_back(panel);
    }
  }
  panels_ = std::move(panels);
}

void Conditional::Extend(const Sums& sums) {
  const auto lives_on = [&](double density, double step, double side) {
    const double rest = density * step;
    return rest > Tolerance() / 4 * sums.mass() ||
           (side <= sums.mass() / 2 && rest > options_.tail_tolerance / 4 * side);
  };
  const Panel first = panels_.front();
  const Panel last = panels_.back();
  const double lowest = range_.is_whole ? CellHigh(range_.support_low) : range_.support_low;
  const double highest = range_.is_whole ? CellLow(range_.support_high) : range_.support_high;
  if (first.low() > lowest && lives_on(first.LeftDensity(shift_), left_step_, sums.left + sums.at)) {
    const double low = std::max(lowest, first.low() - left_step_);
    if (low < first.low() && std::isfinite(low)) {
      panels_.insert(panels_.begin(), Panel(low, first.low(), range_.is_whole));
      left_step_ *= 2;
    }
  }
  if (last.high() < highest && lives_on(last.RightDensity(shift_), right_step_, sums.right + sums.at)) {
    const double high = std::min(highest, last.high() + right_step_);
    if (high > last.high() && std::isfinite(high)) {
      panels_.emplace_back(last.high(), high, range_.is_whole);
      right_step_ *= 2;
    }
  }
}

void Conditional::Cut() {
  is_cut_ = true;
  const double period = range_.support_high - range_.support_low;
  std::complex<double> direction = 0;
  for (const Panel& panel : panels_) direction += panel.Direction(shift_, period);
  // Without a direction one place is as good as another.
  if (std::abs(direction) == 0) return;
  const double opposite = std::arg(direction) * period / (2 * std::numbers::pi) + period / 2;
  const double turns = std::floor((opposite - range_.support_low) / period);
  const double cut = std::clamp(opposite - turns * period, range_.support_low, range_.support_high);
  std::vector<Panel> before;
  std::vector<Panel> after;
  for (const Panel& panel : panels_) {
    if (panel.low() < cut && cut < panel.high()) {
      before.emplace_back(panel.low(), cut);
      after.emplace_back(cut, panel.high());
    } else {
      (panel.high() <= cut ? before : after).push_back(panel);
    }
  }
  for (Panel& panel : before) panel.Move(period);
  after.insert(after.end(), before.begin(), before.end());
  panels_ = std::move(after);
  if (value_low_ < cut) value_low_ = value_high_ = value_low_ + period;
}

double Conditional::Unwind(double x) const {
  if (!range_.is_circle || x <= range_.support_high) return x;
  return std::max(range_.support_low, x - (range_.support_high - range_.support_low));
}

double Conditional::Quantile(double share, const Sums& sums) const {
  double rest = share * sums.mass();
  for (const Panel& panel : panels_) {
    const double mass = panel.Mass(shift_);
    if (rest <= mass) return Unwind(panel.Quantile(rest, shift_));
    rest -= mass;
  }
  // Rounding left something over.
  return Unwind(panels_.back().Quantile(panels_.back().Mass(shift_), shift_));
}

ColumnAnswer Conditional::NoAnswer() const {
  ColumnAnswer answer;
  answer.surprise = CanBe(value_, range_) ? kNaN : kInfinity;
  answer.tail_probability = CanBe(value_, range_) ? kNaN : 0;
  answer.median = answer.lower = answer.upper = answer.error = kNaN;
  return answer;
}

ColumnAnswer Conditional::AnswerOfValues() const {
  const std::vector<double>& values = *range_.values;
  const double shift = *std::max_element(log_densities_.begin(), log_densities_.end());
  if (!std::isfinite(shift)) return NoAnswer();
  double mass = 0;
  double left = 0;   // of values up to this one
  double right = 0;  // from this one on
  for (size_t i = 0; i < values.size(); ++i) {
    const double density = std::exp(log_densities_[i] - shift);
    mass += density;
    const bool is_it = IsSame(values[i], value_);
    if (is_it || values[i] < value_) left += density;
    if (is_it || values[i] > value_) right += density;
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
  answer.tail_probability = log_density_ == -kInfinity ? 0 : std::min(1.0, 2 * std::min(left, right) / mass);
  answer.median = quantile(0.5);
  answer.lower = quantile(0.05);
  answer.upper = quantile(0.95);
  answer.error = std::max(Noise(shift), Noise(log_density_));
  return answer;
}

ColumnAnswer Conditional::Answer() const {
  if (is_unknown_) return {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN};
  if (range_.values != nullptr) return AnswerOfValues();
  const Sums sums = Sum();
  // A density at the value alone is a peak that no point was near to.
  if (!(sums.mass() > 0)) return NoAnswer();
  ColumnAnswer answer;
  answer.surprise = shift_ + std::log(sums.mass()) - log_density_;
  answer.tail_probability = log_density_ == -kInfinity ? 0 : std::min(1.0, 2 * sums.tail() / sums.mass());
  answer.median = Quantile(0.5, sums);
  answer.lower = Quantile(0.05, sums);
  answer.upper = Quantile(0.95, sums);
  answer.error = sums.error() / sums.mass() + std::max(Noise(shift_), Noise(log_density_));
  return answer;
}

}  // namespace densityd::explain
