#include "server/telemetry/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace densityd::telemetry {
namespace {

/// std::atomic<double>::fetch_add, which this standard library may implement with a lock.
void AddTo(std::atomic<double>& sum, double value) {
  double before = sum.load(std::memory_order_relaxed);
  while (!sum.compare_exchange_weak(before, before + value, std::memory_order_relaxed)) {
  }
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds, int shards)
    : bounds_(std::move(bounds)), shards_(static_cast<size_t>(std::max(1, shards))) {
  for (Shard& shard : shards_) shard.counts = std::make_unique<std::atomic<uint64_t>[]>(bounds_.size() + 1);
}

size_t Histogram::BucketOf(double value) const {
  return static_cast<size_t>(std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin());
}

void Histogram::Observe(int shard, double value) { ObserveAll(shard, absl::MakeConstSpan(&value, 1)); }

void Histogram::ObserveAll(int shard, absl::Span<const double> values) {
  Shard& cells = ShardOf(shard);
  double sum = 0;
  size_t run_bucket = 0;
  uint64_t run = 0;
  // Neighbouring values often share a bucket; a run of them costs one addition.
  for (const double value : values) {
    if (std::isnan(value)) continue;
    if (std::isfinite(value)) sum += value;
    const size_t bucket = BucketOf(value);
    if (bucket != run_bucket) {
      if (run > 0) cells.counts[run_bucket].fetch_add(run, std::memory_order_relaxed);
      run_bucket = bucket;
      run = 0;
    }
    ++run;
  }
  if (run > 0) cells.counts[run_bucket].fetch_add(run, std::memory_order_relaxed);
  AddTo(cells.sum, sum);
}

prometheus::ClientMetric::Histogram Histogram::Collect() const {
  prometheus::ClientMetric::Histogram collected;
  uint64_t cumulative = 0;
  for (size_t i = 0; i <= bounds_.size(); ++i) {
    for (const Shard& shard : shards_) cumulative += shard.counts[i].load(std::memory_order_relaxed);
    const double bound = i < bounds_.size() ? bounds_[i] : std::numeric_limits<double>::infinity();
    collected.bucket.push_back({cumulative, bound});
  }
  collected.sample_count = cumulative;
  for (const Shard& shard : shards_) collected.sample_sum += shard.sum.load(std::memory_order_relaxed);
  return collected;
}

HistogramFamily::HistogramFamily(std::string name, std::string help, std::vector<double> bounds, int shards)
    : name_(std::move(name)), help_(std::move(help)), bounds_(std::move(bounds)), shards_(shards) {}

std::shared_ptr<Histogram> HistogramFamily::Add(const prometheus::Labels& labels) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(series_, [](const auto& entry) { return entry.second.expired(); });
  for (const auto& [existing, weak] : series_) {
    if (existing != labels) continue;
    if (auto histogram = weak.lock()) return histogram;
  }
  auto histogram = std::make_shared<Histogram>(bounds_, shards_);
  series_.emplace_back(labels, histogram);
  return histogram;
}

std::vector<prometheus::MetricFamily> HistogramFamily::Collect() const {
  prometheus::MetricFamily family;
  family.name = name_;
  family.help = help_;
  family.type = prometheus::MetricType::Histogram;
  absl::MutexLock lock(&mutex_);
  for (const auto& [labels, weak] : series_) {
    const auto histogram = weak.lock();
    if (histogram == nullptr) continue;
    prometheus::ClientMetric metric;
    for (const auto& [key, value] : labels) metric.label.push_back({key, value});
    metric.histogram = histogram->Collect();
    family.metric.push_back(std::move(metric));
  }
  if (family.metric.empty()) return {};
  return {std::move(family)};
}

}  // namespace densityd::telemetry
