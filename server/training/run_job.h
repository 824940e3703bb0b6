// Everything between the request of a training and its published version.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/base/file_system.h"
#include "server/training/trainer.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// Trains and publishes what the job in `folder` (<root>/trainings/<id>) asks for, and moves its alias. Goes on from
/// the newest checkpoint in the folder, and writes new ones (hooks.save is not used). A job that has published before,
/// in a process that died, publishes nothing again. Errors as CheckTrainRequest, OpenSource, PrepareData, TrainFlow and
/// ModelStore::Publish; of them only those of moving the alias come after a publication, and say so. May throw what
/// LibTorch throws.
/// As rank 0 of `place`; hooks.ranks is not used.
absl::StatusOr<Published> RunJob(FileSystem& files, const std::string& folder, const TrainingJob& job,
                                 const RankPlace& place, const TrainerHooks& hooks);

/// Trains the same as another rank, which writes and publishes nothing; its copies of rows are in the system's
/// temporary folder. OK when the training has ended well. Errors as RunJob and Ranks::Join.
absl::Status RunRank(FileSystem& files, const std::string& folder, const TrainingJob& job, const RankPlace& place,
                     const TrainerHooks& hooks);

}  // namespace densityd::training
