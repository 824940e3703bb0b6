#include "server/explain/first_panels.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace densityd::explain {
namespace {

// So many integers around the usual ones are added up one by one.
constexpr double kMostSummed = 1024;

// Ends wherever the column is usual, ascending.
std::vector<double> UsualEnds(double value, const ColumnRange& range) {
  std::vector<double> ends = {value, value - range.spread, value + range.spread, range.min, range.max};
  for (int i = -4; i <= 4; ++i) ends.push_back(range.center + i * range.spread);
  if (range.is_circle) ends.insert(ends.end(), {range.support_low, range.support_high});
  for (double& end : ends) end = std::clamp(end, range.support_low, range.support_high);
  std::sort(ends.begin(), ends.end());
  return ends;
}

std::vector<double> ContinuousEnds(double value, const ColumnRange& range) {
  std::vector<double> apart;
  for (double end : UsualEnds(value, range)) {
    const bool is_value = end == value;
    if (!apart.empty() && end - apart.back() < 1e-3 * range.spread) {
      if (is_value) apart.back() = value;
    } else {
      apart.push_back(end);
    }
  }
  // A support that is narrow against the spread.
  if (apart.size() < 2) {
    apart = {range.support_low, range.support_high};
    if (value > range.support_low && value < range.support_high) apart.insert(apart.begin() + 1, value);
  }
  if (range.is_circle) {
    apart.front() = range.support_low;
    if (apart.back() < range.support_high) apart.push_back(range.support_high);
  }
  return apart;
}

// Ends in the middle between two integers each.
std::vector<double> WholeEnds(double value, const ColumnRange& range) {
  const double low = CellHigh(range.support_low);
  const double high = CellLow(range.support_high);
  if (!(low < high)) return {};
  std::vector<double> ends = {CellLow(value), CellHigh(value)};
  for (double end : UsualEnds(value, range)) ends.insert(ends.end(), {CellLow(end), CellHigh(end)});
  for (double& end : ends) end = std::clamp(end, low, high);
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  if (ends.size() < 2) return {low, high};
  if (ends.back() - ends.front() > kMostSummed) return ends;
  std::vector<double> close;
  for (double end : ends) {
    while (!close.empty() && end - close.back() > Panel::kNodes) close.push_back(close.back() + Panel::kNodes);
    close.push_back(end);
  }
  return close;
}

}  // namespace

double CellLow(double value) { return std::ceil(value) - 0.5; }
double CellHigh(double value) { return std::floor(value) + 0.5; }

std::vector<Panel> FirstPanels(double value, const ColumnRange& range) {
  const std::vector<double> ends = range.is_whole ? WholeEnds(value, range) : ContinuousEnds(value, range);
  std::vector<Panel> panels;
  for (size_t i = 0; i + 1 < ends.size(); ++i) panels.emplace_back(ends[i], ends[i + 1], range.is_whole);
  return panels;
}

}  // namespace densityd::explain
