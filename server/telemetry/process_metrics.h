// process_*: what the operating system says about this process, under the names that every Prometheus client uses.
#pragma once

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace densityd::telemetry {

/// Reads /proc/self at every scrape. A value that cannot be read is left out. Thread-safe.
class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace densityd::telemetry
