// Latencies of many calls: collected without allocation, summarised as percentiles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace densityd::bench {

/// Summary of the calls of one run. Times in seconds.
struct LatencySummary {
  size_t calls = 0;
  double mean = 0;
  double p50 = 0;
  double p99 = 0;
  double p999 = 0;
  double max = 0;
};

/// Nearest-rank percentiles. Sorts `seconds`.
inline LatencySummary Summarise(std::vector<double>& seconds) {
  LatencySummary summary;
  summary.calls = seconds.size();
  if (seconds.empty()) return summary;
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double level) {
    const auto index = static_cast<size_t>(level * static_cast<double>(seconds.size()));
    return seconds[std::min(index, seconds.size() - 1)];
  };
  for (const double value : seconds) summary.mean += value;
  summary.mean /= static_cast<double>(seconds.size());
  summary.p50 = at(0.5);
  summary.p99 = at(0.99);
  summary.p999 = at(0.999);
  summary.max = seconds.back();
  return summary;
}

}  // namespace densityd::bench
