// The time series of one model: what is asked of it, and where the rows fall.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "server/engine/plan.h"
#include "server/telemetry/histogram.h"

namespace densityd::telemetry {

/// densityd_rows_total, densityd_log_prob and densityd_row_percentile of one model name. Every loaded version of the
/// model holds it; the series leave the scrapes with the last one. Thread-safe.
class ModelSeries {
 public:
  /// Families outlive the series.
  ModelSeries(const std::string& model, std::shared_ptr<prometheus::Family<prometheus::Counter>> rows,
              HistogramFamily& log_prob, HistogramFamily& percentile);
  ~ModelSeries();
  ModelSeries(const ModelSeries&) = delete;
  ModelSeries& operator=(const ModelSeries&) = delete;

  /// `rows` rows were answered.
  void OnRows(engine::Op op, size_t rows) { rows_[static_cast<size_t>(op)]->Increment(static_cast<double>(rows)); }
  /// log p of served rows, in nats.
  void OnLogProb(int shard, absl::Span<const double> log_prob) { log_prob_->ObserveAll(shard, log_prob); }
  /// Where served rows fall in the model's own calibration, within [0, 1].
  void OnPercentile(int shard, absl::Span<const double> percentile) { percentile_->ObserveAll(shard, percentile); }

 private:
  std::shared_ptr<prometheus::Family<prometheus::Counter>> rows_family_;
  std::array<prometheus::Counter*, engine::kOpCount> rows_{};
  std::shared_ptr<Histogram> log_prob_;
  std::shared_ptr<Histogram> percentile_;
};

}  // namespace densityd::telemetry
