#include "server/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "ATen/Context.h"
#include "absl/strings/str_cat.h"
#include "server/flow/spec.h"
#include "server/training/adam.h"
#include "server/training/batch_order.h"
#include "server/training/calibration.h"
#include "server/training/flat_parameters.h"
#include "server/training/nonfinite.h"
#include "server/training/progress_meter.h"
#include "server/training/row_tensors.h"
#include "server/training/schedule.h"

namespace densityd::training {
namespace {

using density::v1::FlowSpec;
using density::v1::TrainingOptions;

constexpr int64_t kValidationChunk = 4096;
constexpr int64_t kInitializationRows = 16384;
constexpr uint64_t kMaxRestarts = 3;

class Trainer {
 public:
  Trainer(std::shared_ptr<flow::Flow> flow, RowTensors train, RowTensors validation, const TrainingOptions& options,
          const TrainerHooks& hooks)
      : flow_(std::move(flow)),
        train_(std::move(train)),
        validation_(std::move(validation)),
        options_(options),
        hooks_(hooks),
        parameters_(*flow_),
        values_(parameters_.values()),
        optimizer_(values_, options),
        order_(options.seed(), train_.rows(), options.batch_size()),
        meter_(options),
        best_values_(values_.clone()) {
    if (options_.ema_decay() > 0) average_ = values_.clone();
  }

  absl::Status Run();
  TrainedFlow Take() &&;

 private:
  double Rate(uint64_t step) const { return LearningRate(options_, step) * rate_factor_; }
  // False where the loss or the gradient was not finite, and nothing was changed.
  bool TakeStep(uint64_t step, const RowTensors& batch);
  void UpdateAverage(uint64_t step);
  // Skips a step on `batch`; after too many in a row goes back to the best weights, and in the end gives up.
  absl::Status SkipStep(uint64_t step, const RowTensors& batch);
  absl::Status Validate();
  // log p of every validation row, nats.
  absl::StatusOr<std::vector<double>> Evaluate();
  absl::Status CheckCancelled() const;

  std::shared_ptr<flow::Flow> flow_;
  const RowTensors train_;
  const RowTensors validation_;
  const TrainingOptions options_;
  const TrainerHooks& hooks_;
  FlatParameters parameters_;
  torch::Tensor values_;   // the weights that are stepped
  torch::Tensor average_;  // their moving average, or undefined
  Adam optimizer_;
  BatchOrder order_;
  ProgressMeter meter_;

  torch::Tensor best_values_;  // the weights that were validated best; the initial ones before that
  std::vector<double> best_log_prob_;
  double best_nll_ = std::numeric_limits<double>::infinity();
  uint32_t validations_since_best_ = 0;

  double rate_factor_ = 1;
  uint32_t nonfinite_in_a_row_ = 0;
  uint64_t restarts_ = 0;
  bool stopped_early_ = false;
};

absl::Status Trainer::Run() {
  flow_->train();
  for (uint64_t step = 0; step < options_.steps() && !stopped_early_; ++step) {
    if (absl::Status status = CheckCancelled(); !status.ok()) return status;
    const RowTensors batch = train_.Select(order_.Batch(step).to(values_.device()));
    if (TakeStep(step, batch)) {
      nonfinite_in_a_row_ = 0;
    } else if (absl::Status status = SkipStep(step, batch); !status.ok()) {
      return status;
    }
    const bool validates = (step + 1) % options_.validation_interval() == 0 || step + 1 == options_.steps();
    if (validates) {
      if (absl::Status status = Validate(); !status.ok()) return status;
    }
    if (validates || meter_.Due()) hooks_.on_progress(meter_.Take(Rate(step)));
  }
  if (!best_log_prob_.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("no validation of the ", options_.steps(),
                                                    " steps gave a finite log-likelihood, so there is nothing "
                                                    "to publish; lower options.learning_rate (",
                                                    options_.learning_rate(), ")"));
}

bool Trainer::TakeStep(uint64_t step, const RowTensors& batch) {
  const torch::Tensor& gradients = parameters_.gradients();
  gradients.zero_();
  const torch::Tensor loss = flow_->LogProb(batch.x, batch.context).mean().neg();
  loss.backward();
  const torch::Tensor norm_tensor = gradients.norm();
  const double loss_value = loss.item<double>();
  const double norm = norm_tensor.item<double>();
  if (!std::isfinite(loss_value) || !std::isfinite(norm)) return false;
  if (options_.clip_norm() > 0 && norm > options_.clip_norm()) gradients.mul_(options_.clip_norm() / norm);
  optimizer_.Step(gradients, Rate(step));
  UpdateAverage(step);
  meter_.AddStep(loss_value);
  return true;
}

void Trainer::UpdateAverage(uint64_t step) {
  if (!average_.defined()) return;
  // The average of the first steps must forget the initial weights: it is as long as the run until it reaches its full
  // length.
  const auto taken = static_cast<double>(step + 1);
  const double decay = std::min(options_.ema_decay(), taken / (taken + 10));
  const torch::NoGradGuard no_grad;
  average_.lerp_(values_, 1 - decay);
}

absl::Status Trainer::SkipStep(uint64_t step, const RowTensors& batch) {
  meter_.AddSkippedStep();
  if (++nonfinite_in_a_row_ < options_.max_nonfinite_steps()) return absl::OkStatus();
  if (restarts_ == kMaxRestarts) {
    return absl::FailedPreconditionError(absl::StrCat(
        "step ", step, ": the loss or its gradient was not finite ", nonfinite_in_a_row_,
        " times in a row, and had been so after each of ", kMaxRestarts,
        " returns to the best weights with half the learning rate; the first number that is not finite is "
        "in: ",
        FindNonfinite(*flow_, parameters_, batch), ". Lower options.learning_rate (", options_.learning_rate(),
        ") or options.clip_norm (", options_.clip_norm(), "), or look for extreme values in the data"));
  }
  ++restarts_;
  rate_factor_ /= 2;
  nonfinite_in_a_row_ = 0;
  const torch::NoGradGuard no_grad;
  values_.copy_(best_values_);
  if (average_.defined()) average_.copy_(best_values_);
  optimizer_.Reset();
  return absl::OkStatus();
}

absl::Status Trainer::Validate() {
  const torch::NoGradGuard no_grad;
  torch::Tensor stepped;
  if (average_.defined()) {
    stepped = values_.clone();
    values_.copy_(average_);
  }
  absl::StatusOr<std::vector<double>> log_prob = Evaluate();
  if (!log_prob.ok()) return log_prob.status();
  const double nll = -EstimateMean(*log_prob).mean;
  const bool is_best = nll < best_nll_;  // false for NaN
  validations_since_best_ = is_best ? 0 : validations_since_best_ + 1;
  if (is_best) {
    best_nll_ = nll;
    best_values_.copy_(values_);
    best_log_prob_ = *std::move(log_prob);
  }
  if (average_.defined()) values_.copy_(stepped);
  meter_.AddValidation(nll, is_best);
  stopped_early_ = options_.patience() > 0 && validations_since_best_ >= options_.patience();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> Trainer::Evaluate() {
  flow_->eval();
  std::vector<double> log_prob;
  log_prob.reserve(validation_.rows());
  for (int64_t begin = 0; begin < validation_.rows(); begin += kValidationChunk) {
    if (absl::Status status = CheckCancelled(); !status.ok()) return status;
    const RowTensors chunk = validation_.Slice(begin, std::min(kValidationChunk, validation_.rows() - begin));
    const torch::Tensor numbers = flow_->LogProb(chunk.x, chunk.context).to(torch::kCPU, torch::kFloat64).contiguous();
    log_prob.insert(log_prob.end(), numbers.const_data_ptr<double>(),
                    numbers.const_data_ptr<double>() + numbers.numel());
  }
  flow_->train();
  return log_prob;
}

absl::Status Trainer::CheckCancelled() const {
  return hooks_.cancelled() ? absl::CancelledError("the training was asked to stop") : absl::OkStatus();
}

TrainedFlow Trainer::Take() && {
  TrainedFlow trained;
  const MeanEstimate estimate = EstimateMean(best_log_prob_);
  meter_.Complete(trained.report);
  trained.report.set_train_rows(train_.rows());
  trained.report.set_validation_rows(validation_.rows());
  trained.report.set_validation_log_likelihood(estimate.mean);
  trained.report.set_validation_standard_error(estimate.standard_error);
  trained.report.set_stopped_early(stopped_early_);
  trained.report.set_restarts(restarts_);
  *trained.report.mutable_options() = options_;
  {
    const torch::NoGradGuard no_grad;
    values_.copy_(best_values_);
  }
  flow_->eval();
  trained.flow = std::move(flow_);
  trained.validation_log_prob = std::move(best_log_prob_);
  return trained;
}

}  // namespace

absl::StatusOr<TrainedFlow> TrainFlow(const FlowSpec& spec, const TrainingData& data, const TrainingOptions& options,
                                      torch::Device device, const TrainerHooks& hooks) {
  // Dropout draws from LibTorch's own generator.
  at::manual_seed(options.seed());
  const RowTensors exact = ToDoubleTensors(data.train, data.features, device);
  absl::StatusOr<FlowSpec> fitted = flow::FitStandardize(spec, exact.x, exact.context);
  if (!fitted.ok()) return fitted.status();
  absl::StatusOr<std::shared_ptr<flow::Flow>> flow = flow::BuildFlow(*fitted, options.seed());
  if (!flow.ok()) return flow.status();
  (*flow)->to(device);
  const RowTensors first = exact.Slice(0, std::min(exact.rows(), kInitializationRows));
  (*flow)->InitializeFromData(first.x, first.context);
  (*flow)->to(torch::kFloat32);

  const RowTensors validation = ToDoubleTensors(data.validation, data.features, device);
  Trainer trainer(*std::move(flow), ForTraining(exact, *fitted), ForTraining(validation, *fitted), options, hooks);
  if (absl::Status status = trainer.Run(); !status.ok()) return status;
  TrainedFlow trained = std::move(trainer).Take();
  trained.report.set_parameters(flow::CountParameters(*fitted));
  return trained;
}

}  // namespace densityd::training
