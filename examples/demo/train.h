// Trains one model and shows how it goes.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"
#include "densityd/client.h"

namespace densityd::demo {

/// Starts the training and follows it with a progress bar until it has published its version. An error, with the
/// server's message, where it ends otherwise.
absl::StatusOr<density::v1::Training> TrainModel(const Client& client, const density::v1::TrainRequest& request);

}  // namespace densityd::demo
