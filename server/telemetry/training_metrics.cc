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
  auto stalled =
      Gauge("densityd_training_stalled", "1 while nothing is heard of a running training's process, else 0.");
  auto resumes = Gauge("densityd_training_resumes", "Times that an unfinished training went on after an interruption.");
  auto nonfinite = Gauge("densityd_training_nonfinite_steps",
                         "Steps of a running training that were skipped because loss or gradient was not finite.");
  auto in_a_row = Gauge("densityd_training_nonfinite_in_a_row",
                        "Such steps in a row up to now; not 0: the training learns nothing just now.");
  auto checkpoint = Gauge("densityd_training_checkpoint_timestamp_seconds",
                          "When a running training wrote its last checkpoint, in seconds since 1970.");
  for (const Training& training : list_()) {
    ++counts[training.state()];
    const std::vector<prometheus::ClientMetric::Label> labels = {{"model", training.model()},
                                                                 {"training", training.id()}};
    const bool runs = training.state() == density::v1::RUNNING;
    if (runs || training.state() == density::v1::QUEUED) Add(resumes, labels, training.resumes());
    if (runs) Add(stalled, labels, training.stalled() ? 1 : 0);
    if (!runs || !training.has_progress()) continue;
    Add(nonfinite, labels, static_cast<double>(training.progress().nonfinite_steps()));
    Add(in_a_row, labels, static_cast<double>(training.progress().nonfinite_in_a_row()));
    if (training.progress().has_checkpoint_time()) {
      Add(checkpoint, labels, static_cast<double>(training.progress().checkpoint_time().seconds()));
    }
    Add(step, labels, static_cast<double>(training.progress().step()));
    Add(total, labels, static_cast<double>(training.progress().total_steps()));
    Add(rate, labels, training.progress().rows_per_second());
    Add(train, labels, training.progress().train_nll());
    Add(validation, labels, training.progress().validation_nll());
  }
  for (const auto& [state, count] : counts) {
    Add(jobs, {{"state", absl::AsciiStrToLower(density::v1::TrainingState_Name(state))}}, count);
  }
  return {jobs, step, total, rate, train, validation, stalled, resumes, nonfinite, in_a_row, checkpoint};
}

}  // namespace densityd::telemetry
