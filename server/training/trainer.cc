#include "server/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "ATen/Context.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/engine/weights.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"
#include "server/training/batch_order.h"
#include "server/training/calibration.h"
#include "server/training/compiled_learner.h"
#include "server/training/fit_columns.h"
#include "server/training/learner.h"
#include "server/training/permutation.h"
#include "server/training/progress_meter.h"
#include "server/training/row_tensors.h"
#include "server/training/schedule.h"
#include "server/training/torch_learner.h"
#include "server/training/trainer_tensors.h"

namespace densityd::training {
namespace {

using density::v1::FlowSpec;
using density::v1::TrainingOptions;

constexpr int64_t kInitializationRows = 16384;
// Rows that a standardisation behind other layers is fitted to: on their way there they are in memory.
constexpr int64_t kFitRows = 1 << 18;
constexpr uint64_t kMaxRestarts = 3;
constexpr char kBestLogProb[] = "best_log_prob";
// Names of learners, in progress, report and checkpoints.
constexpr char kCompiled[] = "compiled";
constexpr char kLibTorch[] = "libtorch";

// The learner of a training, and why it is not a compiled one; empty where it is.
struct ChosenLearner {
  std::unique_ptr<Learner> learner;
  std::string not_compiled_because;

  const char* name() const { return not_compiled_because.empty() ? kCompiled : kLibTorch; }
};

class Trainer {
 public:
  Trainer(density::v1::FlowSpec spec, ChosenLearner chosen, const TrainingData& data, torch::Device device,
          const TrainingOptions& options, const TrainerHooks& hooks)
      : spec_(std::move(spec)),
        learner_(std::move(chosen.learner)),
        data_(data),
        device_(device),
        options_(options),
        hooks_(hooks),
        order_(options.seed(), data.train.rows, options.batch_size(),
               ShuffleSizesFor(data.features + data.context_features)),
        meter_(options, chosen.name(), chosen.not_compiled_because) {}

  /// Goes on from where `checkpoint` was made.
  absl::Status Restore(const Checkpoint& checkpoint);
  /// Validates the weights that the training starts from, so that nothing worse is published.
  absl::Status ValidateStart() { return Validate(); }
  absl::Status Run();
  TrainedFlow Take() &&;

 private:
  double Rate(uint64_t step) const { return LearningRate(options_, step) * rate_factor_; }
  // Share of the weights of step `step` in their moving average.
  double AverageShare(uint64_t step) const;
  // Skips a step on `indices`; after too many in a row goes back to the best weights, and in the end gives up.
  absl::Status SkipStep(uint64_t step, absl::Span<const int64_t> indices);
  absl::Status Validate();
  // What all ranks do together where one of them was asked to.
  absl::StatusOr<StopRequest> AskWhetherToStop() const;
  // CANCELLED; ABORTED after a checkpoint.
  absl::Status CheckStop(uint64_t step);
  bool CheckpointDue() const;
  // Of the loop after `steps` steps. An error is logged, and the training goes on.
  void SaveCheckpoint(uint64_t steps);

  const density::v1::FlowSpec spec_;
  const std::unique_ptr<Learner> learner_;
  const TrainingData& data_;
  const torch::Device device_;
  const TrainingOptions options_;
  const TrainerHooks& hooks_;
  BatchOrder order_;
  ProgressMeter meter_;

  std::vector<double> best_log_prob_;
  double best_nll_ = std::numeric_limits<double>::infinity();
  uint32_t validations_since_best_ = 0;

  double rate_factor_ = 1;
  bool stopped_early_ = false;
  uint64_t first_step_ = 0;
  absl::Time last_checkpoint_ = absl::Now();
};

bool Trainer::CheckpointDue() const {
  const double interval = options_.checkpoint_interval_seconds();
  return hooks_.save != nullptr && interval > 0 && absl::Now() - last_checkpoint_ >= absl::Seconds(interval);
}

void Trainer::SaveCheckpoint(uint64_t steps) {
  if (hooks_.save == nullptr) return;
  Checkpoint checkpoint;
  checkpoint.state.set_step(steps);
  *checkpoint.state.mutable_spec() = spec_;
  checkpoint.state.set_data_sha256(data_.sha256);
  checkpoint.state.set_best_nll(best_nll_);
  checkpoint.state.set_validations_since_best(validations_since_best_);
  checkpoint.state.set_rate_factor(rate_factor_);
  checkpoint.state.set_stopped_early(stopped_early_);
  checkpoint.state.set_trainer(meter_.trainer());
  meter_.Save(checkpoint.state);
  NamedTensors tensors = learner_->State();
  for (auto& state : GeneratorStates(device_)) tensors.push_back(std::move(state));
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
  if (state.data_sha256() != data_.sha256) {
    return absl::FailedPreconditionError(
        absl::StrCat("the training cannot go on from step ", state.step(),
                     ": its data have changed since it began; start it again, on data that stay as they are"));
  }
  if (absl::Status status = RestoreTensors(checkpoint.tensors, learner_->State()); !status.ok()) return status;
  if (absl::Status status = RestoreGenerators(checkpoint.tensors, device_); !status.ok()) return status;
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
  for (uint64_t step = first_step_; step < options_.steps() && !stopped_early_; ++step) {
    if (absl::Status status = CheckStop(step); !status.ok()) return status;
    const std::vector<int64_t>& indices = order_.Batch(step);
    learner_->Expect(order_.Upcoming(step));
    const absl::StatusOr<std::optional<double>> loss = learner_->Step(indices, {step, Rate(step), AverageShare(step)});
    if (!loss.ok()) return loss.status();
    if (loss->has_value()) {
      meter_.AddStep(**loss);
    } else if (absl::Status status = SkipStep(step, indices); !status.ok()) {
      return status;
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

double Trainer::AverageShare(uint64_t step) const {
  // The average of the first steps must forget the initial weights: it is as long as the run until it reaches its full
  // length.
  const auto taken = static_cast<double>(step + 1);
  return 1 - std::min(options_.ema_decay(), taken / (taken + 10));
}

absl::Status Trainer::SkipStep(uint64_t step, absl::Span<const int64_t> indices) {
  meter_.AddSkippedStep();
  if (meter_.nonfinite_in_a_row() < options_.max_nonfinite_steps()) return absl::OkStatus();
  if (meter_.restarts() == kMaxRestarts) {
    return absl::FailedPreconditionError(
        absl::StrCat("step ", step, ": the loss or its gradient was not finite ", meter_.nonfinite_in_a_row(),
                     " times in a row, and had been so after each of ", kMaxRestarts,
                     " returns to the best weights with half the learning rate; the first number that is not finite is "
                     "in: ",
                     learner_->FindNonfinite(indices), ". Lower options.learning_rate (", options_.learning_rate(),
                     ") or options.clip_norm (", options_.clip_norm(), "), or look for extreme values in the data"));
  }
  meter_.AddRestart();
  rate_factor_ /= 2;
  learner_->ReturnToBest();
  return absl::OkStatus();
}

absl::Status Trainer::Validate() {
  if (hooks_.check_data != nullptr) {
    if (absl::Status status = hooks_.check_data(); !status.ok()) return status;
  }
  absl::StatusOr<std::vector<double>> log_prob =
      learner_->Evaluate([&] { return hooks_.stop() == StopRequest::kCancel; });
  if (!log_prob.ok()) return log_prob.status();
  const double nll = -EstimateMean(*log_prob).mean;
  const bool is_best = nll < best_nll_;  // false for NaN
  validations_since_best_ = is_best ? 0 : validations_since_best_ + 1;
  if (is_best) {
    best_nll_ = nll;
    learner_->KeepBest();
    best_log_prob_ = *std::move(log_prob);
  }
  meter_.AddValidation(nll, is_best);
  stopped_early_ = options_.patience() > 0 && validations_since_best_ >= options_.patience();
  return absl::OkStatus();
}

absl::StatusOr<StopRequest> Trainer::AskWhetherToStop() const {
  const StopRequest own = hooks_.stop();
  if (hooks_.ranks == nullptr) return own;
  const absl::StatusOr<std::vector<double>> all = hooks_.ranks->GatherNumber(static_cast<double>(own));
  if (!all.ok()) return all.status();
  StopRequest common = StopRequest::kNone;
  for (const double one : *all) {
    const auto request = static_cast<StopRequest>(one);
    if (request == StopRequest::kCancel) return request;
    if (request == StopRequest::kSuspend) common = request;
  }
  return common;
}

absl::Status Trainer::CheckStop(uint64_t step) {
  const absl::StatusOr<StopRequest> request = AskWhetherToStop();
  if (!request.ok()) return request.status();
  switch (*request) {
    case StopRequest::kNone:
      return absl::OkStatus();
    case StopRequest::kCancel:
      return TrainingCancelled();
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
  trained.report.set_train_rows(data_.train.rows);
  trained.report.set_validation_rows(data_.validation.rows);
  trained.report.set_validation_log_likelihood(estimate.mean);
  trained.report.set_validation_standard_error(estimate.standard_error);
  trained.report.set_stopped_early(stopped_early_);
  *trained.report.mutable_options() = options_;
  trained.flow = learner_->TakeBest();
  trained.validation_log_prob = std::move(best_log_prob_);
  return trained;
}

// `count` rows at random, or all where there are no more, in their order.
RowTensors RandomRows(const RowTensors& rows, int64_t count, uint64_t seed) {
  if (rows.rows() <= count) return rows.Slice(0, rows.rows());
  const Permutation order(seed, kStartStream, /*part=*/0, static_cast<uint64_t>(rows.rows()));
  std::vector<int64_t> indices(static_cast<size_t>(count));
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<int64_t>(order(i));
  // From the first to the last: rows that do not fit into memory are then read once.
  std::sort(indices.begin(), indices.end());
  return rows.Select(indices);
}

absl::StatusOr<FlowSpec> Fit(const FlowSpec& spec, const RowTensors& exact, uint64_t seed) {
  const auto& layers = spec.layers();
  const bool behind_others = std::any_of(layers.begin() + 1, layers.end(),
                                         [](const density::v1::Layer& layer) { return layer.has_standardize(); });
  if (!behind_others) return flow::FitStandardize(spec, exact.x, exact.context);
  const RowTensors some = RandomRows(exact, kFitRows, seed);
  return flow::FitStandardize(spec, some.x, some.context);
}

// The flow as it is before the first step, in float32.
absl::StatusOr<std::shared_ptr<flow::Flow>> StartingFlow(const FlowSpec& spec, const RowTensors& exact,
                                                         const TrainingOptions& options, const TrainingStart& start) {
  absl::StatusOr<FlowSpec> fitted =
      start.checkpoint.has_value() ? start.checkpoint->state.spec() : Fit(spec, exact, options.seed());
  if (!fitted.ok()) return fitted.status();
  absl::StatusOr<std::shared_ptr<flow::Flow>> flow = flow::BuildFlow(*fitted, options.seed());
  if (!flow.ok()) return flow.status();
  (*flow)->to(exact.x.device());
  if (!start.weights.empty()) {
    if (absl::Status status = engine::LoadWeights(**flow, start.weights); !status.ok()) return status;
  } else if (!start.checkpoint.has_value()) {
    const int64_t rows = flow::RowsAtOnce((*flow)->spec(), kInitializationRows);
    const RowTensors some = RandomRows(exact, rows, options.seed());
    (*flow)->InitializeFromData(some.x, some.context);
  }
  (*flow)->to(torch::kFloat32);
  return flow;
}

// Why the steps of this training must not be compiled; empty where they may be.
std::string ObstacleToCompiling(const TrainingOptions& options, torch::Device device, const TrainingStart& start) {
  // A checkpoint goes on as it began: the two keep their weights in different orders.
  if (start.checkpoint.has_value() && start.checkpoint->state.trainer() != kCompiled) {
    return "the checkpoint that it goes on from is of LibTorch";
  }
  if (options.trainer() == TrainingOptions::LIBTORCH) return "LibTorch was asked for";
  return device.is_cpu() ? "" : "it runs on another device than the CPU";
}

absl::StatusOr<ChosenLearner> ChooseLearner(const std::shared_ptr<flow::Flow>& flow, const RowTensors& exact,
                                            const TrainingData& data, const TrainingOptions& options,
                                            const TrainingStart& start, Ranks* ranks) {
  const torch::Device device = exact.x.device();
  ChosenLearner chosen{nullptr, ObstacleToCompiling(options, device, start)};
  if (chosen.not_compiled_because.empty()) {
    absl::StatusOr<std::unique_ptr<CompiledLearner>> compiled = CompiledLearner::Create(flow, data, options, ranks);
    if (compiled.ok()) {
      chosen.learner = *std::move(compiled);
      return chosen;
    }
    if (!absl::IsUnimplemented(compiled.status())) return compiled.status();
    chosen.not_compiled_because = ToStd(compiled.status().message());
  }
  if (ranks != nullptr) {
    return absl::UnimplementedError(absl::StrCat("several ranks (WORLD_SIZE) train compiled steps only, and this ",
                                                 "training has none: ", chosen.not_compiled_because));
  }
  RowTensors train = exact;
  RowTensors validation = ToDoubleTensors(data.validation, data.features, device);
  // What is a copy on a device need not be in float64 there.
  for (RowTensors* rows : {&train, &validation}) {
    if (!device.is_cpu()) *rows = ForTraining(*rows, flow->spec());
  }
  chosen.learner = std::make_unique<TorchLearner>(flow, std::move(train), std::move(validation), options);
  return chosen;
}

}  // namespace

absl::StatusOr<TrainedFlow> TrainFlow(const FlowSpec& spec, const TrainingData& data, const TrainingOptions& options,
                                      torch::Device device, const TrainerHooks& hooks, const TrainingStart& start) {
  if (hooks.ranks != nullptr && options.batch_size() < hooks.ranks->size()) {
    return InvalidArgument("options.batch_size", absl::StrCat("is ", options.batch_size(), "; each of the ",
                                                              hooks.ranks->size(), " ranks needs a row"));
  }
  // Dropout draws from LibTorch's own generator.
  at::manual_seed(options.seed());
  RowTensors exact = ToDoubleTensors(data.train, data.features, device);
  absl::StatusOr<std::shared_ptr<flow::Flow>> flow = StartingFlow(spec, exact, options, start);
  if (!flow.ok()) return flow.status();
  const FlowSpec fitted = (*flow)->spec();
  if (absl::Status status = CheckWithinDensity(data, fitted); !status.ok()) return status;
  absl::StatusOr<ChosenLearner> chosen = ChooseLearner(*flow, exact, data, options, start, hooks.ranks);
  if (!chosen.ok()) return chosen.status();
  exact = {};  // the learner has what it needs
  Log(LogLevel::kInfo, "trainer chosen",
      {{"trainer", chosen->name()}, {"not_compiled_because", chosen->not_compiled_because}});
  flow->reset();
  Trainer trainer(fitted, *std::move(chosen), data, device, options, hooks);
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
