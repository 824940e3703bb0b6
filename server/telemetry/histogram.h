// Histograms that many threads observe without meeting each other.
//
// prometheus::Histogram takes a mutex for every observation. Here each worker has its own cells; a scrape adds them up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "prometheus/client_metric.h"
#include "prometheus/collectable.h"
#include "prometheus/labels.h"
#include "prometheus/metric_family.h"

namespace densityd::telemetry {

/// One time series. Thread-safe; without contention where each thread observes into a shard of its own.
class Histogram {
 public:
  /// `bounds` are inclusive upper bounds, ascending; the bucket above the last one is implied.
  Histogram(std::vector<double> bounds, int shards);

  /// Counts one value. NaN is not counted; an infinite value is counted but left out of the sum.
  void Observe(int shard, double value);
  /// The same for many values, with one addition per bucket.
  void ObserveAll(int shard, absl::Span<const double> values);

  prometheus::ClientMetric::Histogram Collect() const;

 private:
  struct alignas(64) Shard {
    std::unique_ptr<std::atomic<uint64_t>[]> counts;
    std::atomic<double> sum{0};
  };
  Shard& ShardOf(int shard) { return shards_[static_cast<size_t>(shard) % shards_.size()]; }
  size_t BucketOf(double value) const;

  std::vector<double> bounds_;
  std::vector<Shard> shards_;
};

/// All series of one name. Thread-safe.
class HistogramFamily : public prometheus::Collectable {
 public:
  HistogramFamily(std::string name, std::string help, std::vector<double> bounds, int shards);

  /// The series with these labels. It leaves the scrapes with its last holder.
  std::shared_ptr<Histogram> Add(const prometheus::Labels& labels);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::string name_;
  const std::string help_;
  const std::vector<double> bounds_;
  const int shards_;
  mutable absl::Mutex mutex_;
  std::vector<std::pair<prometheus::Labels, std::weak_ptr<Histogram>>> series_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::telemetry
