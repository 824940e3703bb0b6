// Who may connect, and how: TLS, mutual TLS, or plain text on this machine.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"

namespace densityd::rpc {

/// PEM files. They are read again when they change, so that certificates are renewed without a restart.
struct TlsOptions {
  std::string certificate;  ///< the server's chain; empty: no TLS
  std::string key;          ///< its private key; needed with `certificate`
  std::string client_ca;    ///< clients must show a certificate signed by one of these; empty: they need none
};

/// Credentials for listening on `address`. INVALID_ARGUMENT for an incomplete set of files; NOT_FOUND or DATA_LOSS
/// where a file is absent or not PEM; FAILED_PRECONDITION for plain text beyond this machine, unless
/// `allow_plain_text`.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const TlsOptions& tls,
                                                                         const std::string& address,
                                                                         bool allow_plain_text);

}  // namespace densityd::rpc
