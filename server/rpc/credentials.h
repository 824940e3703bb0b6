// Who may connect, and how: TLS, mutual TLS, or plain text on this machine.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"
#include "server/rpc/tls_files.h"

namespace densityd::rpc {

/// Credentials for listening on `address`, which must outlive the server. INVALID_ARGUMENT for an incomplete set of
/// files; NOT_FOUND or DATA_LOSS where a file is absent, not PEM, or of another pair (CheckTls); FAILED_PRECONDITION
/// for plain text beyond this machine, unless `allow_plain_text`.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const TlsOptions& tls,
                                                                         const std::string& address,
                                                                         bool allow_plain_text);

}  // namespace densityd::rpc
