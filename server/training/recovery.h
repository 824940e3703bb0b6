// What a former server left: the trainings of a root as they are found when a server starts.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"
#include "server/base/file_system.h"
#include "server/registry/model_store.h"
#include "server/training/training_record.pb.h"
#include "server/training/training_store.h"

namespace densityd::training {

/// A training found on disk: final; RUNNING where its process lives; or QUEUED.
struct RecoveredTraining {
  TrainingJob job;
  RunRecord record;
  density::v1::Training training;
  bool cancelled = false;  ///< a client asked for that, and it has not ended yet
  bool ended_now = false;  ///< its outcome was found and written just now
  /// It could not be read, and counts as FAILED until a server can: nothing in its folder may be changed or removed.
  bool is_left_alone = false;
};

/// All trainings, oldest first. One whose process is gone without an outcome gets one now, on disk too, where it
/// published, failed, was cancelled, or died too often (`max_deaths`, see NoteDeath); else it is queued again. One that
/// cannot be read becomes FAILED, with DATA_LOSS where it is damaged, and is left alone.
absl::StatusOr<std::vector<RecoveredTraining>> RecoverTrainings(FileSystem& files, TrainingStore& store,
                                                                const registry::ModelStore& models, int max_deaths);

/// The state of a training whose job was just recorded.
density::v1::Training QueuedTraining(const TrainingJob& job);

}  // namespace densityd::training
