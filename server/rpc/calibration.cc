#include "server/rpc/calibration.h"

#include <algorithm>
#include <cmath>

#include "server/base/errors.h"

namespace densityd::rpc {
namespace {

bool Ascends(const std::vector<double>& values) {
  return std::is_sorted(values.begin(), values.end()) &&
         std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
}

}  // namespace

absl::StatusOr<TailProbability> TailProbability::Create(const density::v1::Calibration& calibration) {
  TailProbability tail;
  tail.levels_.assign(calibration.levels().begin(), calibration.levels().end());
  tail.log_prob_.assign(calibration.log_prob().begin(), calibration.log_prob().end());
  if (tail.levels_.size() != tail.log_prob_.size()) {
    return DataLoss("manifest.json", "calibration", "levels and log_prob differ in length");
  }
  if (!Ascends(tail.levels_) || !Ascends(tail.log_prob_)) {
    return DataLoss("manifest.json", "calibration", "levels and log_prob must ascend and be finite");
  }
  if (tail.available() && (tail.levels_.front() < 0 || tail.levels_.back() > 1)) {
    return DataLoss("manifest.json", "calibration", "levels must lie within [0, 1]");
  }
  return tail;
}

double TailProbability::operator()(double log_prob) const {
  if (std::isnan(log_prob)) return log_prob;
  // The first quantile above; where quantiles are equal, all of their rows count as "at most".
  const auto above = std::upper_bound(log_prob_.begin(), log_prob_.end(), log_prob);
  if (above == log_prob_.begin()) return 0;
  if (above == log_prob_.end()) return 1;
  const auto i = static_cast<size_t>(above - log_prob_.begin());
  const double share = (log_prob - log_prob_[i - 1]) / (log_prob_[i] - log_prob_[i - 1]);
  return levels_[i - 1] + share * (levels_[i] - levels_[i - 1]);
}

}  // namespace densityd::rpc
