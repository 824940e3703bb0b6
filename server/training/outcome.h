// What a training comes to, once its process has ended.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"
#include "server/registry/model_store.h"
#include "server/training/training_record.pb.h"
#include "server/training/training_run.h"

namespace densityd::training {

/// How a process left its training.
enum class Ending {
  kFinal,      ///< it has ended
  kSuspended,  ///< the process was asked to stop and to be started again
  kDied,       ///< the process is gone and gave no reason
};

/// Writes the final state of `training` (state, error or version and report), if it has ended, from how its process
/// ended. A published version makes it SUCCEEDED, however the process ended afterwards. `cancelled`: a client asked for
/// that.
Ending Conclude(const RunResult& run, bool cancelled, density::v1::Training& training);

/// Why a process that died is gone, for people.
std::string DescribeDeath(const RunResult& run, const density::v1::Training& training);

/// The state FAILED with the code and message of `error`.
void Fail(const absl::Status& error, density::v1::Training& training);

/// What the training of `job` published, if it did: a publication is known even where the process died before it could
/// tell. Damaged versions are passed over.
absl::StatusOr<std::optional<Published>> FindPublished(const registry::ModelStore& store, const TrainingJob& job);

}  // namespace densityd::training
