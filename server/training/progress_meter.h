// Speed and learning curve of a running training.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "density/v1/training.pb.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// Not thread-safe.
class ProgressMeter {
 public:
  /// `options` are resolved; what takes the steps, and why it is not compiled, are told with the progress.
  ProgressMeter(const density::v1::TrainingOptions& options, const std::string& trainer,
                const std::string& not_compiled_because);

  /// A step on a finite loss (nats per row) was taken.
  void AddStep(double loss);
  /// A step was skipped.
  void AddSkippedStep();
  /// A validation gave `nll` (nats per row), which is the best so far or not.
  void AddValidation(double nll, bool is_best);

  /// Whether enough time has passed to tell of progress again.
  bool Due() const;
  /// The state now; the next interval begins.
  density::v1::TrainingProgress Take(double learning_rate);

  /// Fills in seconds, rows_per_second, steps, best_step, nonfinite_steps and the curve.
  void Complete(density::v1::TrainingReport& report) const;

  /// A checkpoint of the steps done up to now was written.
  void AddCheckpoint();
  /// The trainer went back to the best weights.
  void AddRestart();

  /// Writes everything that it has counted into `state`, and takes it over from there.
  void Save(CheckpointState& state) const;
  void Restore(const CheckpointState& state);

  const std::string& trainer() const { return progress_.trainer(); }
  uint64_t steps() const { return progress_.step(); }
  uint64_t nonfinite_in_a_row() const { return progress_.nonfinite_in_a_row(); }
  uint64_t restarts() const { return progress_.restarts(); }

 private:
  // Mean loss since `losses_` was cleared last, or that before it where no step was taken since.
  void UpdateTrainNll();
  void AddCurvePoint();

  const uint64_t batch_size_;
  absl::Time begin_;  // that of the loop, as if it had not been interrupted
  uint32_t resumes_ = 0;
  absl::Time interval_begin_;
  uint64_t interval_step_ = 0;
  double loss_sum_ = 0;
  uint64_t losses_ = 0;
  density::v1::TrainingProgress progress_;
  google::protobuf::RepeatedPtrField<density::v1::CurvePoint> curve_;
};

}  // namespace densityd::training
