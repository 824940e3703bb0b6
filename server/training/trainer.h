// The training loop: maximum likelihood by Adam, as described in docs/numerics.md ("Training").
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"
#include "server/flow/flow.h"
#include "server/registry/tensor.h"
#include "server/training/checkpoint.h"
#include "server/training/ranks.h"
#include "server/training/training_data.h"
#include "torch/types.h"

namespace densityd::training {

/// Whether to stop, and what for.
enum class StopRequest {
  kNone,
  kCancel,   ///< for good
  kSuspend,  ///< to go on later, from the checkpoint that is written first
};

/// How a trainer talks to its surroundings. All are called between steps.
struct TrainerHooks {
  /// A few times per second, and after every validation and checkpoint.
  std::function<void(const density::v1::TrainingProgress&)> on_progress;
  std::function<StopRequest()> stop;
  /// Stores a checkpoint; its error does not stop the training. Null: none is made.
  std::function<absl::Status(Checkpoint)> save = nullptr;
  /// Whether the data are still what they were, at every validation; its error ends the training. Null: nobody looks.
  std::function<absl::Status()> check_data = nullptr;
  /// The processes that train together; all give the same arguments. Null: this one trains alone.
  Ranks* ranks = nullptr;
};

/// Where a training begins, if not with weights drawn from the seed: one of both, or nothing.
struct TrainingStart {
  /// Where it was interrupted. Of the same spec, data, options and number of threads.
  std::optional<Checkpoint> checkpoint;
  /// Weights of a version of the spec, as stored.
  std::vector<registry::Tensor> weights;
};

/// A trained flow.
struct TrainedFlow {
  std::shared_ptr<flow::Flow> flow;         ///< with the best weights, in float32, in evaluation mode
  density::v1::TrainingReport report;       ///< complete
  std::vector<double> validation_log_prob;  ///< of each validation row, nats of the original columns; finite
};

/// Trains the flow that `spec` describes, its standardisations fitted to the train split first, on `device`. `options`
/// are resolved (options.h). CANCELLED and ABORTED (suspended) when asked to; INVALID_ARGUMENT where the data do not
/// suit the spec; FAILED_PRECONDITION, naming step and layer or parameter, where the numbers keep becoming non-finite,
/// or where the data are not those of the checkpoint; DATA_LOSS where checkpoint or weights do not fit the flow; with
/// ranks, UNAVAILABLE where one is gone, and UNIMPLEMENTED where steps are not compiled; all ranks get the same flow.
/// The same arguments and number of threads give the same weights bit for bit on a CPU, however often it went on from a
/// checkpoint.
absl::StatusOr<TrainedFlow> TrainFlow(const density::v1::FlowSpec& spec, const TrainingData& data,
                                      const density::v1::TrainingOptions& options, torch::Device device,
                                      const TrainerHooks& hooks, const TrainingStart& start = {});

}  // namespace densityd::training
