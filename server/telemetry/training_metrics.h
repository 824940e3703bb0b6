// densityd_training_*: trainings by state, and the progress of those that run.
#pragma once

#include <functional>
#include <vector>

#include "density/v1/training.pb.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace densityd::telemetry {

/// Asks for all trainings at each scrape. Thread-safe if `list` is.
class TrainingMetrics : public prometheus::Collectable {
 public:
  explicit TrainingMetrics(std::function<std::vector<density::v1::Training>()> list) : list_(std::move(list)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  std::function<std::vector<density::v1::Training>()> list_;
};

}  // namespace densityd::telemetry
