// Trainings that go on from a model version.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "density/v1/model_registry.pb.h"
#include "density/v1/training.pb.h"
#include "server/registry/model_store.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// Looks up what `request.warm_start` names, notes it in `job`, and writes that version's flow into `request.spec`, so
/// that all that follows sees a request for that flow. Nothing without warm_start. INVALID_ARGUMENT (a reference that
/// is none, or a flow beside it), NOT_FOUND, DATA_LOSS.
absl::Status ResolveWarmStart(const registry::ModelStore& models, density::v1::TrainRequest& request, TrainingJob& job);

/// Whether data with the columns of `data` can go on with a model of the columns of `model`: names that people gave,
/// not numbers, must be the same ones in the same order. INVALID_ARGUMENT for "warm_start".
absl::Status CheckSameColumns(const density::v1::FeatureSchema& model, const density::v1::FeatureSchema& data);

/// `name@version`, or empty.
std::string WarmStartName(const TrainingJob& job);

}  // namespace densityd::training
