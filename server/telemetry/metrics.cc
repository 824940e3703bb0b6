#include "server/telemetry/metrics.h"

#include <cstring>
#include <iterator>

#include "prometheus/text_serializer.h"

namespace densityd::telemetry {
namespace {

std::vector<double> SecondsBounds() {
  return {0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
          0.1,     0.25,   0.5,     1,      2.5,   5,      10,    30,   60};
}

std::vector<double> PowersOfTwo(int count) {
  std::vector<double> bounds;
  for (int i = 0; i < count; ++i) bounds.push_back(static_cast<double>(1 << i));
  return bounds;
}

/// log p in nats: fine where most tabular models live, coarse outside.
std::vector<double> LogProbBounds() {
  return {-1000, -300, -100, -50, -30, -20, -15, -10, -7.5, -5, -2.5, 0, 2.5, 5, 7.5, 10, 15, 20, 30, 50, 100, 300};
}

std::vector<double> PercentileBounds() {
  return {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 1};
}

const char* CodeLabel(int code) {
  static constexpr std::array<const char*, 17> kNames = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return kNames[static_cast<size_t>(code)];
}

constexpr const char* kReasons[] = {"rows", "bytes",       "deadline",     "cancelled",
                                    "slow", "client_rows", "client_calls", "other"};

}  // namespace

Metrics::Metrics(int workers)
    : workers_(workers),
      requests_(prometheus::BuildCounter()
                    .Name("densityd_requests_total")
                    .Help("Calls that ended, by RPC and status code.")
                    .Register(registry_)),
      rejected_(prometheus::BuildCounter()
                    .Name("densityd_rejected_total")
                    .Help("Requests that were refused or given up before they were computed, by reason.")
                    .Register(registry_)),
      model_bytes_(prometheus::BuildGauge()
                       .Name("densityd_model_bytes")
                       .Help("Memory of each loaded model version, in bytes.")
                       .Register(registry_)),
      models_loaded_(prometheus::BuildGauge()
                         .Name("densityd_models_loaded")
                         .Help("Model versions that answer requests.")
                         .Register(registry_)
                         .Add({})),
      rows_(std::make_shared<prometheus::Family<prometheus::Counter>>(
          "densityd_rows_total", "Rows answered, by model and operation.", prometheus::Labels{})),
      request_seconds_("densityd_request_seconds", "From a call's arrival to its answer, in seconds.", SecondsBounds(),
                       workers + 1),
      queue_seconds_("densityd_queue_seconds",
                     "From a row request's arrival to its first computed row, in seconds, by priority.",
                     SecondsBounds(), workers + 1),
      compute_seconds_("densityd_compute_seconds", "Computation of one tile, in seconds.", SecondsBounds(),
                       workers + 1),
      tile_rows_("densityd_tile_rows", "Rows computed together in one tile.", PowersOfTwo(13), workers + 1),
      tile_requests_("densityd_tile_requests", "Requests whose rows were computed together in one tile.",
                     PowersOfTwo(9), workers + 1),
      log_prob_("densityd_log_prob", "log p of served rows, in nats.", LogProbBounds(), workers + 1),
      row_percentile_("densityd_row_percentile",
                      "Where served rows fall among the model's own validation rows; uniform unless the data drift.",
                      PercentileBounds(), workers + 1),
      queue_{queue_seconds_.Add({{"priority", "interactive"}}), queue_seconds_.Add({{"priority", "batch"}})},
      rows_per_tile_(tile_rows_.Add({})),
      requests_per_tile_(tile_requests_.Add({})) {
  for (int method = 0; method < kRpcMethodCount; ++method) {
    methods_[method].seconds = request_seconds_.Add({{"method", RpcMethodName(static_cast<RpcMethod>(method))}});
  }
  for (int op = 0; op < engine::kOpCount; ++op) {
    compute_[op] = compute_seconds_.Add({{"op", engine::OpName(static_cast<engine::Op>(op))}});
  }
  for (const char* reason : kReasons) reasons_.emplace_back(reason, &rejected_.Add({{"reason", reason}}));
}

void Metrics::OnRequest(int shard, RpcMethod method, absl::StatusCode code, absl::Duration total) {
  MethodSeries& series = methods_[static_cast<size_t>(method)];
  const int index =
      static_cast<int>(code) < kCodes ? static_cast<int>(code) : static_cast<int>(absl::StatusCode::kUnknown);
  prometheus::Counter* counter = series.requests[index].load(std::memory_order_acquire);
  if (counter == nullptr) {
    counter = &requests_.Add({{"method", RpcMethodName(method)}, {"code", CodeLabel(index)}});
    series.requests[index].store(counter, std::memory_order_release);
  }
  counter->Increment();
  series.seconds->Observe(shard, absl::ToDoubleSeconds(total));
}

void Metrics::OnTile(int worker, engine::Op op, size_t rows, size_t jobs, absl::Duration compute) {
  compute_[static_cast<size_t>(op)]->Observe(worker, absl::ToDoubleSeconds(compute));
  rows_per_tile_->Observe(worker, static_cast<double>(rows));
  requests_per_tile_->Observe(worker, static_cast<double>(jobs));
}

void Metrics::OnQueued(int worker, serving::Priority priority, absl::Duration wait) {
  queue_[static_cast<size_t>(priority)]->Observe(worker, absl::ToDoubleSeconds(wait));
}

void Metrics::OnRejected(const char* reason) {
  for (const auto& [name, counter] : reasons_) {
    if (name == reason || &name == &reasons_.back().first) return counter->Increment();
  }
}

std::shared_ptr<ModelSeries> Metrics::ForModel(const std::string& model) {
  absl::MutexLock lock(&mutex_);
  std::weak_ptr<ModelSeries>& entry = models_[model];
  if (auto series = entry.lock()) return series;
  auto series = std::make_shared<ModelSeries>(model, rows_, log_prob_, row_percentile_);
  entry = series;
  return series;
}

void Metrics::OnVersion(const density::v1::VersionInfo& info) {
  absl::MutexLock lock(&mutex_);
  const std::pair<std::string, uint64_t> key(info.name(), info.version());
  const auto entry = loaded_.find(key);
  if (info.state() == density::v1::READY) {
    if (entry == loaded_.end()) {
      loaded_[key] = &model_bytes_.Add({{"model", info.name()}, {"version", std::to_string(info.version())}});
    }
    loaded_[key]->Set(static_cast<double>(info.memory_bytes()));
  } else if (entry != loaded_.end()) {
    model_bytes_.Remove(entry->second);
    loaded_.erase(entry);
  }
  models_loaded_.Set(static_cast<double>(loaded_.size()));
}

std::shared_ptr<void> Metrics::AddGauge(std::string name, std::string help, std::function<double()> read) {
  absl::MutexLock lock(&mutex_);
  const uint64_t id = next_gauge_++;
  gauges_.push_back({id, std::move(name), std::move(help), std::move(read)});
  return {nullptr, [this, id](void*) {
            absl::MutexLock removal_lock(&mutex_);
            std::erase_if(gauges_, [id](const GaugeSource& gauge) { return gauge.id == id; });
          }};
}

void Metrics::AddSource(std::unique_ptr<prometheus::Collectable> source) {
  absl::MutexLock lock(&mutex_);
  sources_.push_back(std::move(source));
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  std::vector<prometheus::MetricFamily> all = registry_.Collect();
  const auto append = [&all](std::vector<prometheus::MetricFamily> more) {
    for (auto& family : more) {
      if (!family.metric.empty()) all.push_back(std::move(family));
    }
  };
  append(rows_->Collect());
  for (const HistogramFamily* family : {&request_seconds_, &queue_seconds_, &compute_seconds_, &tile_rows_,
                                        &tile_requests_, &log_prob_, &row_percentile_}) {
    append(family->Collect());
  }
  absl::MutexLock lock(&mutex_);
  for (const GaugeSource& gauge : gauges_) {
    prometheus::ClientMetric metric;
    metric.gauge.value = gauge.read();
    all.push_back({gauge.name, gauge.help, prometheus::MetricType::Gauge, {metric}});
  }
  for (const auto& source : sources_) append(source->Collect());
  return all;
}

std::string Metrics::Text() const { return prometheus::TextSerializer().Serialize(Collect()); }

}  // namespace densityd::telemetry
