// ClientOptions to a gRPC channel.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "densityd/options.h"
#include "grpcpp/channel.h"

namespace densityd::client_internal {

/// INVALID_ARGUMENT naming the option that makes no sense.
absl::Status CheckOptions(const ClientOptions& options);

/// A channel as the options say. Channels of one address share their connections, unless one is to have its own.
/// Precondition: CheckOptions is OK.
std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options, bool own_connections = false);

}  // namespace densityd::client_internal
