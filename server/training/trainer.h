// The training loop: maximum likelihood by Adam, as described in docs/numerics.md ("Training").
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"
#include "server/flow/flow.h"
#include "server/training/training_data.h"
#include "torch/types.h"

namespace densityd::training {

/// How a trainer talks to its surroundings. Both are called between steps.
struct TrainerHooks {
  /// A few times per second, and after every validation.
  std::function<void(const density::v1::TrainingProgress&)> on_progress;
  /// Whether to stop now.
  std::function<bool()> cancelled;
};

/// A trained flow.
struct TrainedFlow {
  std::shared_ptr<flow::Flow> flow;         ///< with the best weights, in float32, in evaluation mode
  density::v1::TrainingReport report;       ///< complete
  std::vector<double> validation_log_prob;  ///< of each validation row, nats of the original columns; finite
};

/// Trains the flow that `spec` describes, its standardisations fitted to the train split first, on `device`. `options`
/// are resolved (options.h). CANCELLED when asked to; INVALID_ARGUMENT where the data do not suit the spec;
/// FAILED_PRECONDITION, naming step and layer or parameter, where the numbers keep becoming non-finite. The same
/// arguments and number of threads give the same weights bit for bit on a CPU.
absl::StatusOr<TrainedFlow> TrainFlow(const density::v1::FlowSpec& spec, const TrainingData& data,
                                      const density::v1::TrainingOptions& options, torch::Device device,
                                      const TrainerHooks& hooks);

}  // namespace densityd::training
