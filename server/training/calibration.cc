#include "server/training/calibration.h"

#include <algorithm>
#include <cmath>

namespace densityd::training {
namespace {

constexpr double kLevels[] = {0,    1e-4,  2e-4, 5e-4, 1e-3, 2e-3,  5e-3, 0.01,  0.02,  0.03,
                              0.05, 0.075, 0.1,  0.15, 0.2,  0.25,  0.3,  0.4,   0.5,   0.6,
                              0.7,  0.75,  0.8,  0.9,  0.95, 0.975, 0.99, 0.995, 0.999, 1};

}  // namespace

density::v1::Calibration Calibrate(std::vector<double> log_prob) {
  std::sort(log_prob.begin(), log_prob.end());
  density::v1::Calibration calibration;
  calibration.set_rows(log_prob.size());
  for (const double level : kLevels) {
    const double position = level * static_cast<double>(log_prob.size() - 1);
    const auto below = static_cast<size_t>(position);
    const size_t above = std::min(below + 1, log_prob.size() - 1);
    const double weight = position - static_cast<double>(below);
    calibration.add_levels(level);
    // This form never leaves the two neighbours, so that the quantiles stay ascending.
    calibration.add_log_prob(std::lerp(log_prob[below], log_prob[above], weight));
  }
  return calibration;
}

MeanEstimate EstimateMean(const std::vector<double>& numbers) {
  const auto count = static_cast<double>(numbers.size());
  MeanEstimate estimate;
  for (const double number : numbers) estimate.mean += number / count;
  if (numbers.size() < 2) return estimate;
  double squares = 0;
  for (const double number : numbers) squares += (number - estimate.mean) * (number - estimate.mean);
  estimate.standard_error = std::sqrt(squares / (count - 1) / count);
  return estimate;
}

}  // namespace densityd::training
