// grpc::Status to absl::Status.
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace densityd::client_internal {

/// The same code and message; each google.rpc detail becomes a payload under its type URL.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace densityd::client_internal
