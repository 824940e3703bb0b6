// Where a log-probability falls among the validation rows of its own model.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"

namespace densityd::rpc {

/// The empirical distribution function of log p on the validation rows, linear between the stored quantiles.
/// Immutable and thread-safe.
class TailProbability {
 public:
  /// DATA_LOSS where the quantiles are no distribution function: sizes differ, or levels or values descend.
  static absl::StatusOr<TailProbability> Create(const density::v1::Calibration& calibration);

  /// False for a model that was stored without calibration.
  bool available() const { return !levels_.empty(); }

  /// The share of validation rows whose log p is at most `log_prob` (nats), within [0, 1]; NaN for NaN.
  /// Precondition: available().
  double operator()(double log_prob) const;

 private:
  std::vector<double> levels_;
  std::vector<double> log_prob_;
};

}  // namespace densityd::rpc
