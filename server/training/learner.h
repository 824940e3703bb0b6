// What takes the steps of a training: the weights, their optimiser, their moving average.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/flow/flow.h"
#include "server/training/epoch_order.h"
#include "server/training/trainer_tensors.h"

namespace densityd::training {

/// How a step is taken.
struct StepOptions {
  uint64_t number = 0;       ///< of the step in the training: what it draws depends on it and the seed
  double rate = 0;           ///< learning rate
  double average_share = 0;  ///< what the moving average, if there is one, takes of the new weights
};

/// Of one flow and its rows. Used by one thread.
class Learner {
 public:
  virtual ~Learner() = default;

  /// Rows of the train split that steps will take soon: brings them into memory where they lie on a disk.
  virtual void Expect(absl::Span<const RowRange> rows) = 0;
  /// A step on the rows of the train split that `indices` (n) name. The mean loss before it, nats; none where it or the
  /// gradient was not finite, and nothing was changed.
  virtual absl::StatusOr<std::optional<double>> Step(absl::Span<const int64_t> indices, const StepOptions& options) = 0;
  /// Names, for people, where the numbers of a step on these rows stop being finite. After a Step that gave none.
  virtual std::string FindNonfinite(absl::Span<const int64_t> indices) = 0;

  /// log p of every validation row, nats, at the moving average, or at the weights where there is none. One NaN where
  /// these weights cannot be evaluated; CANCELLED once `is_cancelled`.
  virtual absl::StatusOr<std::vector<double>> Evaluate(absl::FunctionRef<bool()> is_cancelled) = 0;
  /// Keeps what Evaluate looks at as the best weights. Before the first call those are the initial ones.
  virtual void KeepBest() = 0;
  /// Goes back to the best weights; the optimiser forgets what it has seen.
  virtual void ReturnToBest() = 0;

  /// All that it goes on from, for a checkpoint; written to, it goes on from there.
  virtual NamedTensors State() const = 0;
  /// The flow with the best weights, in evaluation mode. No other call may follow.
  virtual std::shared_ptr<flow::Flow> TakeBest() = 0;
};

/// CANCELLED: the training was asked to stop.
inline absl::Status TrainingCancelled() { return absl::CancelledError("the training was asked to stop"); }

}  // namespace densityd::training
