#include "server/training/progress_meter.h"

#include <limits>

#include "absl/time/clock.h"
#include "server/training/timestamps.h"

namespace densityd::training {
namespace {

constexpr absl::Duration kInterval = absl::Milliseconds(250);
// A longer curve loses every second point: nobody can see more, and a report must stay small.
constexpr int kMaxCurvePoints = 2000;

}  // namespace

ProgressMeter::ProgressMeter(const density::v1::TrainingOptions& options, const std::string& trainer,
                             const std::string& not_compiled_because)
    : batch_size_(options.batch_size()), begin_(absl::Now()), interval_begin_(begin_) {
  progress_.set_trainer(trainer);
  progress_.set_not_compiled_because(not_compiled_because);
  progress_.set_total_steps(options.steps());
  progress_.set_train_nll(std::numeric_limits<double>::quiet_NaN());
  progress_.set_validation_nll(std::numeric_limits<double>::quiet_NaN());
  progress_.set_best_validation_nll(std::numeric_limits<double>::quiet_NaN());
}

void ProgressMeter::AddStep(double loss) {
  progress_.set_nonfinite_in_a_row(0);
  progress_.set_step(progress_.step() + 1);
  loss_sum_ += loss;
  ++losses_;
}

void ProgressMeter::AddSkippedStep() {
  progress_.set_step(progress_.step() + 1);
  progress_.set_nonfinite_steps(progress_.nonfinite_steps() + 1);
  progress_.set_nonfinite_in_a_row(progress_.nonfinite_in_a_row() + 1);
}

void ProgressMeter::AddCheckpoint() {
  progress_.set_checkpoint_step(progress_.step());
  *progress_.mutable_checkpoint_time() = ToTimestamp(absl::Now());
}

void ProgressMeter::AddRestart() {
  progress_.set_nonfinite_in_a_row(0);
  progress_.set_restarts(progress_.restarts() + 1);
}

void ProgressMeter::Save(CheckpointState& state) const {
  *state.mutable_progress() = progress_;
  state.mutable_progress()->set_checkpoint_step(progress_.step());
  *state.mutable_progress()->mutable_checkpoint_time() = ToTimestamp(absl::Now());
  *state.mutable_curve() = curve_;
  state.set_loss_sum(loss_sum_);
  state.set_losses(losses_);
  state.set_seconds(absl::ToDoubleSeconds(absl::Now() - begin_));
  state.set_resumes(resumes_);
}

void ProgressMeter::Restore(const CheckpointState& state) {
  progress_ = state.progress();
  curve_ = state.curve();
  loss_sum_ = state.loss_sum();
  losses_ = state.losses();
  begin_ = absl::Now() - absl::Seconds(state.seconds());
  resumes_ = state.resumes() + 1;
  interval_begin_ = absl::Now();
  interval_step_ = progress_.step();
}

void ProgressMeter::AddValidation(double nll, bool is_best) {
  UpdateTrainNll();
  progress_.set_validation_nll(nll);
  if (is_best) {
    progress_.set_best_validation_nll(nll);
    progress_.set_best_step(progress_.step());
  }
  AddCurvePoint();
}

bool ProgressMeter::Due() const { return absl::Now() - interval_begin_ >= kInterval; }

density::v1::TrainingProgress ProgressMeter::Take(double learning_rate) {
  UpdateTrainNll();
  const absl::Time now = absl::Now();
  const double seconds = absl::ToDoubleSeconds(now - interval_begin_);
  const double steps_per_second = seconds > 0 ? static_cast<double>(progress_.step() - interval_step_) / seconds : 0;
  const double overall = static_cast<double>(progress_.step()) / absl::ToDoubleSeconds(now - begin_);
  progress_.set_rows_per_second(steps_per_second * static_cast<double>(batch_size_));
  progress_.set_eta_seconds(static_cast<double>(progress_.total_steps() - progress_.step()) / overall);
  progress_.set_learning_rate(learning_rate);
  interval_begin_ = now;
  interval_step_ = progress_.step();
  return progress_;
}

void ProgressMeter::Complete(density::v1::TrainingReport& report) const {
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin_);
  report.set_seconds(seconds);
  report.set_rows_per_second(static_cast<double>(progress_.step() * batch_size_) / seconds);
  report.set_steps(progress_.step());
  report.set_best_step(progress_.best_step());
  report.set_nonfinite_steps(progress_.nonfinite_steps());
  *report.mutable_curve() = curve_;
  report.set_restarts(progress_.restarts());
  report.set_resumes(resumes_);
  report.set_trainer(progress_.trainer());
  report.set_not_compiled_because(progress_.not_compiled_because());
}

void ProgressMeter::UpdateTrainNll() {
  if (losses_ == 0) return;
  progress_.set_train_nll(loss_sum_ / static_cast<double>(losses_));
  loss_sum_ = 0;
  losses_ = 0;
}

void ProgressMeter::AddCurvePoint() {
  density::v1::CurvePoint* point = curve_.Add();
  point->set_step(progress_.step());
  point->set_train_nll(progress_.train_nll());
  point->set_validation_nll(progress_.validation_nll());
  point->set_seconds(absl::ToDoubleSeconds(absl::Now() - begin_));
  if (curve_.size() <= kMaxCurvePoints) return;
  for (int i = 0; 2 * i + 1 < curve_.size(); ++i) curve_.SwapElements(i, 2 * i + 1);
  curve_.DeleteSubrange(curve_.size() / 2, curve_.size() - curve_.size() / 2);
}

}  // namespace densityd::training
