#include "server/rpc/credentials.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "server/base/errors.h"
#include "server/base/file_system.h"
#include "server/rpc/listen.h"

namespace densityd::rpc {
namespace {

constexpr unsigned kReloadSeconds = 10;
constexpr uint64_t kMaxPemBytes = 1 << 20;

/// gRPC would accept connections and fail every handshake.
absl::Status CheckPem(const std::string& flag, const std::string& path) {
  const auto text = FileSystem::Real().Read(path, kMaxPemBytes);
  if (!text.ok()) return Annotate(text.status(), flag);
  if (absl::StrContains(*text, "-----BEGIN ")) return absl::OkStatus();
  return DataLoss(path, "", absl::StrCat("given as ", flag, ", holds no PEM block"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const TlsOptions& tls,
                                                                         const std::string& address,
                                                                         bool allow_plain_text) {
  if (tls.certificate.empty() && tls.key.empty()) {
    if (!tls.client_ca.empty()) return InvalidArgument("--tls-client-ca", "needs --tls-cert and --tls-key");
    if (allow_plain_text || IsLoopback(address)) return grpc::InsecureServerCredentials();
    return absl::FailedPreconditionError(absl::StrCat(
        "--address ", address, " can be reached from other machines, and without --tls-cert and --tls-key ",
        "everything would travel unprotected. Give a certificate, or say ",
        "--insecure-listen-beyond-loopback where something else protects the traffic"));
  }
  if (tls.certificate.empty()) return InvalidArgument("--tls-key", "needs --tls-cert");
  if (tls.key.empty()) return InvalidArgument("--tls-cert", "needs --tls-key");
  for (const auto& [flag, path] : {std::pair<const char*, const std::string&>("--tls-cert", tls.certificate),
                                   {"--tls-key", tls.key},
                                   {"--tls-client-ca", tls.client_ca}}) {
    if (path.empty()) continue;
    if (auto status = CheckPem(flag, path); !status.ok()) return status;
  }
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(tls.key, tls.certificate,
                                                                                       tls.client_ca, kReloadSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(std::move(provider));
  options.watch_identity_key_cert_pairs();
  if (!tls.client_ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace densityd::rpc
