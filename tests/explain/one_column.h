// What is said of one column whose density is a function of it alone.
#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <vector>

#include "server/explain/conditional.h"

namespace densityd::explain {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline const double kLogSqrt2Pi = 0.5 * std::log(2 * M_PI);

using LogDensity1 = std::function<double(double)>;

struct Run {
  ColumnAnswer answer;
  size_t evaluations = 0;
};

inline Run Explain1(double value, const LogDensity1& log_density, const ColumnRange& range,
                    const QuadratureOptions& options = {}) {
  Conditional conditional(value, log_density(value), range, options);
  Run run;
  std::vector<double> nodes;
  while (true) {
    nodes.clear();
    conditional.Want(nodes);
    if (nodes.empty()) break;
    run.evaluations += nodes.size();
    for (double& node : nodes) node = log_density(node);
    conditional.Take(nodes);
  }
  run.answer = conditional.Answer();
  return run;
}

inline LogDensity1 Normal(double mean, double stddev) {
  return [=](double t) {
    const double z = (t - mean) / stddev;
    return -0.5 * z * z - kLogSqrt2Pi - std::log(stddev);
  };
}

inline double TwoSided(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

inline ColumnRange Range(double min, double max, double center, double spread) {
  ColumnRange range;
  range.min = min;
  range.max = max;
  range.center = center;
  range.spread = spread;
  return range;
}

}  // namespace densityd::explain
