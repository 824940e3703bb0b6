// Speed and learning curve of a running training.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "density/v1/training.pb.h"

namespace densityd::training {

/// Not thread-safe.
class ProgressMeter {
 public:
  /// `options` are resolved.
  explicit ProgressMeter(const density::v1::TrainingOptions& options);

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

  uint64_t steps() const { return progress_.step(); }

 private:
  // Mean loss since `losses_` was cleared last, or that before it where no step was taken since.
  void UpdateTrainNll();
  void AddCurvePoint();

  const uint64_t batch_size_;
  const absl::Time begin_;
  absl::Time interval_begin_;
  uint64_t interval_step_ = 0;
  double loss_sum_ = 0;
  uint64_t losses_ = 0;
  density::v1::TrainingProgress progress_;
  google::protobuf::RepeatedPtrField<density::v1::CurvePoint> curve_;
};

}  // namespace densityd::training
