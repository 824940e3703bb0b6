// What a former server left: the trainings of a root as they are found when a server starts.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"
#include "server/base/file_system.h"
#include "server/registry/model_store.h"
#include "server/training/training_record.pb.h"
#include "server/training/training_store.h"

namespace densityd::training {

/// A training found on disk: final, or QUEUED because its process never began.
struct RecoveredTraining {
  TrainingJob job;
  density::v1::Training training;
};

/// All trainings, oldest first. One whose process had begun without an outcome gets one now, on disk too: SUCCEEDED
/// where it had published, else FAILED. A damaged folder becomes a FAILED training with DATA_LOSS, and is left as it
/// is.
absl::StatusOr<std::vector<RecoveredTraining>> RecoverTrainings(FileSystem& files, TrainingStore& store,
                                                                const registry::ModelStore& models);

/// The state of a training whose job was just recorded.
density::v1::Training QueuedTraining(const TrainingJob& job);

}  // namespace densityd::training
