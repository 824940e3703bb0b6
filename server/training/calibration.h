// Which log-probabilities are usual for a model.
#pragma once

#include <vector>

#include "density/v1/model_registry.pb.h"

namespace densityd::training {

/// Quantiles of `log_prob` (nats, one per validation row, finite) at fixed levels that are dense in the lower tail,
/// where anomalies are: linear between order statistics (Hyndman and Fan 1996, type 7). Precondition: not empty.
density::v1::Calibration Calibrate(std::vector<double> log_prob);

/// Mean and its standard error.
struct MeanEstimate {
  double mean = 0;
  double standard_error = 0;
};

/// Of independent numbers, summed in float64. Precondition: not empty.
MeanEstimate EstimateMean(const std::vector<double>& numbers);

}  // namespace densityd::training
