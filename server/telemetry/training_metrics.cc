#include "server/telemetry/training_metrics.h"

#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "prometheus/metric_type.h"

namespace densityd::telemetry {
namespace {

using density::v1::Training;
using density::v1::TrainingState;

prometheus::MetricFamily Gauge(std::string name, std::string help) {
  prometheus::MetricFamily family;
  family.name = std::move(name);
  family.help = std::move(help);
  family.type = prometheus::MetricType::Gauge;
  return family;
}

void Add(prometheus::MetricFamily& family, std::vector<prometheus::ClientMetric::Label> labels, double value) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  family.metric.push_back(std::move(metric));
}

}  // namespace

std::vector<prometheus::MetricFamily> TrainingMetrics::Collect() const {
  std::map<TrainingState, int> counts;
  for (const TrainingState state : {density::v1::QUEUED, density::v1::RUNNING, density::v1::SUCCEEDED,
                                    density::v1::FAILED, density::v1::CANCELLED}) {
    counts[state] = 0;
  }
  auto jobs = Gauge("densityd_training_jobs", "Trainings that the server knows, by state.");
  auto step = Gauge("densityd_training_step", "Optimiser steps done by a running training.");
  auto total = Gauge("densityd_training_total_steps", "Optimiser steps that a running training will do.");
  auto rate = Gauge("densityd_training_rows_per_second", "Training rows per second of a running training.");
  auto train = Gauge("densityd_training_train_nll", "Train loss of a running training, nats per row.");
  auto validation =
      Gauge("densityd_training_validation_nll", "Last validation loss of a running training, nats per row.");
  for (const Training& training : list_()) {
    ++counts[training.state()];
    if (training.state() != density::v1::RUNNING || !training.has_progress()) continue;
    const std::vector<prometheus::ClientMetric::Label> labels = {{"model", training.model()},
                                                                 {"training", training.id()}};
    Add(step, labels, static_cast<double>(training.progress().step()));
    Add(total, labels, static_cast<double>(training.progress().total_steps()));
    Add(rate, labels, training.progress().rows_per_second());
    Add(train, labels, training.progress().train_nll());
    Add(validation, labels, training.progress().validation_nll());
  }
  for (const auto& [state, count] : counts) {
    Add(jobs, {{"state", absl::AsciiStrToLower(density::v1::TrainingState_Name(state))}}, count);
  }
  return {jobs, step, total, rate, train, validation};
}

}  // namespace densityd::telemetry
