// Makes a model version of a trained flow.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "server/registry/model_store.h"
#include "server/training/trainer.h"
#include "server/training/training_data.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// Publishes `trained` as a version of the job's model, with its schema, calibration, report and provenance. Returns
/// its number. Errors as ModelStore::Publish, and INVALID_ARGUMENT where a weight is not finite.
absl::StatusOr<uint64_t> PublishModel(registry::ModelStore& models, const TrainingJob& job, const TrainedFlow& trained,
                                      const TrainingData& data, const std::string& source);

}  // namespace densityd::training
