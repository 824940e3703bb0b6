// Idempotency keys of Train requests.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "density/v1/training.pb.h"

namespace densityd::training {

/// INVALID_ARGUMENT for "idempotency_key" unless it is empty or 1 … 128 printable ASCII characters.
absl::Status CheckRequestKey(std::string_view key);

/// Tells whether two requests with the same key are the same: SHA-256 of everything in it.
std::string RequestDigest(const density::v1::TrainRequest& request);

}  // namespace densityd::training
