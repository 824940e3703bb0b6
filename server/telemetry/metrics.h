// Everything that the server counts, under the names of docs/operations.md.
//
// Series are resolved once and kept; a label value comes from a closed set or from the registry, never from the wire.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "density/v1/model_registry.pb.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "server/serving/scheduler.h"
#include "server/telemetry/histogram.h"
#include "server/telemetry/model_series.h"
#include "server/telemetry/rpc_method.h"

namespace densityd::telemetry {

/// Thread-safe. Observations never block on a scrape.
class Metrics final : public prometheus::Collectable, public serving::SchedulerObserver {
 public:
  /// Row workers observe into shards 0 … workers - 1, everything else into shared_shard().
  explicit Metrics(int workers);

  int shared_shard() const { return workers_; }

  /// A call ended with `code` after `total`, from its arrival to its answer.
  void OnRequest(int shard, RpcMethod method, absl::StatusCode code, absl::Duration total);

  // serving::SchedulerObserver
  void OnTile(int worker, engine::Op op, size_t rows, size_t jobs, absl::Duration compute) override;
  void OnQueued(int worker, serving::Priority priority, absl::Duration wait) override;
  void OnRejected(const char* reason) override;

  /// The series of a model name; shared by everyone who asks while somebody holds it.
  std::shared_ptr<ModelSeries> ForModel(const std::string& model);

  /// A version became ready or stopped being so.
  void OnVersion(const density::v1::VersionInfo& info);

  /// A gauge that is read at each scrape, until what is returned is destroyed; destroying it waits for a scrape.
  [[nodiscard]] std::shared_ptr<void> AddGauge(std::string name, std::string help, std::function<double()> read);
  /// Further metrics, collected at each scrape.
  void AddSource(std::unique_ptr<prometheus::Collectable> source);

  std::vector<prometheus::MetricFamily> Collect() const override;
  /// What a scrape returns: the Prometheus text format.
  std::string Text() const;

 private:
  static constexpr int kCodes = 17;
  struct MethodSeries {
    std::array<std::atomic<prometheus::Counter*>, kCodes> requests{};
    std::shared_ptr<Histogram> seconds;
  };
  struct GaugeSource {
    uint64_t id = 0;
    std::string name;
    std::string help;
    std::function<double()> read;
  };

  const int workers_;
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Counter>& rejected_;
  prometheus::Family<prometheus::Gauge>& model_bytes_;
  prometheus::Gauge& models_loaded_;
  const std::shared_ptr<prometheus::Family<prometheus::Counter>> rows_;

  HistogramFamily request_seconds_;
  HistogramFamily queue_seconds_;
  HistogramFamily compute_seconds_;
  HistogramFamily tile_rows_;
  HistogramFamily tile_requests_;
  HistogramFamily log_prob_;
  HistogramFamily row_percentile_;

  std::array<MethodSeries, kRpcMethodCount> methods_;
  std::array<std::shared_ptr<Histogram>, serving::kPriorities> queue_;
  std::array<std::shared_ptr<Histogram>, engine::kOpCount> compute_;
  std::shared_ptr<Histogram> rows_per_tile_;
  std::shared_ptr<Histogram> requests_per_tile_;
  std::vector<std::pair<std::string, prometheus::Counter*>> reasons_;

  mutable absl::Mutex mutex_;
  std::map<std::string, std::weak_ptr<ModelSeries>> models_ ABSL_GUARDED_BY(mutex_);
  std::map<std::pair<std::string, uint64_t>, prometheus::Gauge*> loaded_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_gauge_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<GaugeSource> gauges_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<prometheus::Collectable>> sources_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::telemetry
