// absl::Status -> grpc::Status: the one place where errors leave the server.
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace densityd::rpc {

/// Same code and message, and the payloads of type google.rpc.… as binary details (google.rpc.Status in the trailer
/// `grpc-status-details-bin`). Messages are cut at 2 KiB and details left out above 4 KiB, because clients refuse
/// trailers above 8 KiB and would then see no error at all.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace densityd::rpc
