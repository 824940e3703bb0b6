#include "server/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "ATen/Context.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/engine/weights.h"
#include "server/flow/activated_linear.h"
#include "server/flow/row_error.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"
#include "server/training/adam.h"
#include "server/training/batch_order.h"
#include "server/training/calibration.h"
#include "server/training/fit_columns.h"
#include "server/training/flat_parameters.h"
#include "server/training/nonfinite.h"
#include "server/training/progress_meter.h"
#include "server/training/row_tensors.h"
#include "server/training/schedule.h"
#include "server/training/trainer_tensors.h"

namespace densityd::training {
namespace {

using density::v1::FlowSpec;
using density::v1::TrainingOptions;

constexpr int64_t kValidationChunk = 4096;
constexpr int64_t kInitializationRows = 16384;
constexpr uint64_t kMaxRestarts = 3;
constexpr char kBestLogProb[] = "best_log_prob";

absl::Status Cancelled() { return absl::CancelledError("the training was asked to stop"); }

class Trainer {
 public:
  Trainer(std::shared_ptr<flow::Flow> flow, RowTensors train, RowTensors validation, const TrainingOptions& options,
          const std::string& data_sha256, const TrainerHooks& hooks)
      : flow_(std::move(flow)),
        train_(std::move(train)),
        validation_(std::move(validation)),
        options_(options),
        data_sha256_(data_sha256),
        hooks_(hooks),
        parameters_(*flow_),
        values_(parameters_.values()),
        optimizer_(values_, options),
        order_(options.seed(), train_.rows(), options.batch_size()),
        meter_(options),
        best_values_(values_.clone()) {
    if (options_.ema_decay() > 0) average_ = values_.clone();
  }

  /// Goes on from where `checkpoint` was made.
  absl::Status Restore(const Checkpoint& checkpoint);
  /// Validates the weights that the training starts from, so that nothing worse is published.
  absl::Status ValidateStart() { return Validate(); }
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
  // CANCELLED; ABORTED after a checkpoint.
  absl::Status CheckStop(uint64_t step);
  bool CheckpointDue() const;
  // Of the loop after `steps` steps. An error is logged, and the training goes on.
  void SaveCheckpoint(uint64_t steps);
  // Everything that a checkpoint keeps of fixed size.
  NamedTensors CheckpointTensors() const;

  std::shared_ptr<flow::Flow> flow_;
  const RowTensors train_;
  const RowTensors validation_;
  const TrainingOptions options_;
  const std::string data_sha256_;
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
  bool stopped_early_ = false;
  uint64_t first_step_ = 0;
  absl::Time last_checkpoint_ = absl::Now();
};

NamedTensors Trainer::CheckpointTensors() const {
  NamedTensors tensors = {{"values", values_}, {"best_values", best_values_}};
  if (average_.defined()) tensors.emplace_back("average", average_);
  for (const auto& [name, tensor] : optimizer_.state()) tensors.emplace_back(name, tensor);
  for (const auto& buffer : flow_->named_buffers()) tensors.emplace_back("buffer." + buffer.key(), buffer.value());
  return tensors;
}

bool Trainer::CheckpointDue() const {
  const double interval = options_.checkpoint_interval_seconds();
  return hooks_.save != nullptr && interval > 0 && absl::Now() - last_checkpoint_ >= absl::Seconds(interval);
}

void Trainer::SaveCheckpoint(uint64_t steps) {
  if (hooks_.save == nullptr) return;
  Checkpoint checkpoint;
  checkpoint.state.set_step(steps);
  *checkpoint.state.mutable_spec() = flow_->spec();
  checkpoint.state.set_data_sha256(data_sha256_);
  checkpoint.state.set_best_nll(best_nll_);
  checkpoint.state.set_validations_since_best(validations_since_best_);
  checkpoint.state.set_rate_factor(rate_factor_);
  checkpoint.state.set_stopped_early(stopped_early_);
  meter_.Save(checkpoint.state);
  NamedTensors tensors = CheckpointTensors();
  for (auto& state : GeneratorStates(values_.device())) tensors.push_back(std::move(state));
  tensors.emplace_back(kBestLogProb, torch::from_blob(best_log_prob_.data(),
                                                      static_cast<int64_t>(best_log_prob_.size()), torch::kFloat64));
  checkpoint.tensors = StoreTensors(tensors);
  const absl::Status status = hooks_.save(std::move(checkpoint));
  last_checkpoint_ = absl::Now();
  if (!status.ok()) {
    Log(LogLevel::kError, "a checkpoint could not be written; the training goes on without",
        {{"step", steps}, {"error", ToStd(status.message())}});
    return;
  }
  meter_.AddCheckpoint();
  hooks_.on_progress(meter_.Take(Rate(steps)));
}

absl::Status Trainer::Restore(const Checkpoint& checkpoint) {
  const CheckpointState& state = checkpoint.state;
  if (state.data_sha256() != data_sha256_) {
    return absl::FailedPreconditionError(
        absl::StrCat("the training cannot go on from step ", state.step(),
                     ": its data have changed since it began; start it again, on data that stay as they are"));
  }
  if (absl::Status status = RestoreTensors(checkpoint.tensors, CheckpointTensors()); !status.ok()) return status;
  if (absl::Status status = RestoreGenerators(checkpoint.tensors, values_.device()); !status.ok()) return status;
  absl::StatusOr<torch::Tensor> best = RestoreTensor(checkpoint.tensors, kBestLogProb);
  if (!best.ok()) return best.status();
  best_log_prob_.assign(best->const_data_ptr<double>(), best->const_data_ptr<double>() + best->numel());
  best_nll_ = state.best_nll();
  validations_since_best_ = state.validations_since_best();
  rate_factor_ = state.rate_factor();
  stopped_early_ = state.stopped_early();
  first_step_ = state.step();
  meter_.Restore(state);
  return absl::OkStatus();
}

absl::Status Trainer::Run() {
  flow_->train();
  for (uint64_t step = first_step_; step < options_.steps() && !stopped_early_; ++step) {
    if (absl::Status status = CheckStop(step); !status.ok()) return status;
    const RowTensors batch = train_.Select(order_.Batch(step).to(values_.device()));
    if (!TakeStep(step, batch)) {
      if (absl::Status status = SkipStep(step, batch); !status.ok()) return status;
    }
    const bool validates = (step + 1) % options_.validation_interval() == 0 || step + 1 == options_.steps();
    if (validates) {
      if (absl::Status status = Validate(); !status.ok()) return status;
    }
    if (validates || meter_.Due()) hooks_.on_progress(meter_.Take(Rate(step)));
    if (CheckpointDue()) SaveCheckpoint(step + 1);
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
  const torch::Tensor loss = flow_->TrainingLoss(batch.x, batch.context).mean();
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
  if (meter_.nonfinite_in_a_row() < options_.max_nonfinite_steps()) return absl::OkStatus();
  if (meter_.restarts() == kMaxRestarts) {
    return absl::FailedPreconditionError(absl::StrCat(
        "step ", step, ": the loss or its gradient was not finite ", meter_.nonfinite_in_a_row(),
        " times in a row, and had been so after each of ", kMaxRestarts,
        " returns to the best weights with half the learning rate; the first number that is not finite is "
        "in: ",
        FindNonfinite(*flow_, parameters_, batch), ". Lower options.learning_rate (", options_.learning_rate(),
        ") or options.clip_norm (", options_.clip_norm(), "), or look for extreme values in the data"));
  }
  meter_.AddRestart();
  rate_factor_ /= 2;
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
  const int64_t chunk_rows = flow::RowsAtOnce(flow_->spec(), kValidationChunk);
  for (int64_t begin = 0; begin < validation_.rows(); begin += chunk_rows) {
    if (hooks_.stop() == StopRequest::kCancel) return Cancelled();
    const RowTensors chunk = validation_.Slice(begin, std::min(chunk_rows, validation_.rows() - begin));
    torch::Tensor numbers;
    try {
      numbers = flow_->LogProb(chunk.x, chunk.context).to(torch::kCPU, torch::kFloat64).contiguous();
    } catch (const flow::RowError& error) {
      // These weights are no good; others may be. A version is published only where every row has a density.
      Log(LogLevel::kWarning, "a validation counts as not finite",
          {{"validation_row", begin + error.row()}, {"error", error.what()}});
      log_prob = {std::numeric_limits<double>::quiet_NaN()};
      break;
    }
    log_prob.insert(log_prob.end(), numbers.const_data_ptr<double>(),
                    numbers.const_data_ptr<double>() + numbers.numel());
  }
  flow_->train();
  return log_prob;
}

absl::Status Trainer::CheckStop(uint64_t step) {
  switch (hooks_.stop()) {
    case StopRequest::kNone:
      return absl::OkStatus();
    case StopRequest::kCancel:
      return Cancelled();
    case StopRequest::kSuspend:
      break;
  }
  SaveCheckpoint(step);
  return absl::AbortedError(absl::StrCat("the training was suspended at step ", step));
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

// The flow as it is before the first step, in float32.
absl::StatusOr<std::shared_ptr<flow::Flow>> StartingFlow(const FlowSpec& spec, const RowTensors& exact,
                                                         const TrainingOptions& options, const TrainingStart& start) {
  absl::StatusOr<FlowSpec> fitted = start.checkpoint.has_value() ? start.checkpoint->state.spec()
                                                                 : flow::FitStandardize(spec, exact.x, exact.context);
  if (!fitted.ok()) return fitted.status();
  absl::StatusOr<std::shared_ptr<flow::Flow>> flow = flow::BuildFlow(*fitted, options.seed());
  if (!flow.ok()) return flow.status();
  (*flow)->to(exact.x.device());
  if (!start.weights.empty()) {
    if (absl::Status status = engine::LoadWeights(**flow, start.weights); !status.ok()) return status;
  } else if (!start.checkpoint.has_value()) {
    const int64_t rows = flow::RowsAtOnce((*flow)->spec(), kInitializationRows);
    const RowTensors first = exact.Slice(0, std::min(exact.rows(), rows));
    (*flow)->InitializeFromData(first.x, first.context);
  }
  (*flow)->to(torch::kFloat32);
  flow::PrepareForTraining(**flow);
  return flow;
}

}  // namespace

absl::StatusOr<TrainedFlow> TrainFlow(const FlowSpec& spec, const TrainingData& data, const TrainingOptions& options,
                                      torch::Device device, const TrainerHooks& hooks, const TrainingStart& start) {
  // Dropout draws from LibTorch's own generator.
  at::manual_seed(options.seed());
  const RowTensors exact = ToDoubleTensors(data.train, data.features, device);
  absl::StatusOr<std::shared_ptr<flow::Flow>> flow = StartingFlow(spec, exact, options, start);
  if (!flow.ok()) return flow.status();
  const FlowSpec fitted = (*flow)->spec();
  if (absl::Status status = CheckWithinDensity(data, fitted); !status.ok()) return status;
  const RowTensors validation = ToDoubleTensors(data.validation, data.features, device);
  Trainer trainer(*std::move(flow), ForTraining(exact, fitted), ForTraining(validation, fitted), options, data.sha256,
                  hooks);
  absl::Status status;
  if (start.checkpoint.has_value()) {
    status = trainer.Restore(*start.checkpoint);
  } else if (!start.weights.empty()) {
    status = trainer.ValidateStart();
  }
  if (status.ok()) status = trainer.Run();
  if (!status.ok()) return status;
  TrainedFlow trained = std::move(trainer).Take();
  trained.report.set_parameters(flow::CountParameters(fitted));
  return trained;
}

}  // namespace densityd::training
