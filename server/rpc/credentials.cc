#include "server/rpc/credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/file_system.h"
#include "server/rpc/listen.h"

namespace densityd::rpc {
namespace {

constexpr absl::Duration kReload = absl::Seconds(2);

/// What gRPC asks before each handshake of a port whether there is something new. Handshakes begin on the thread that
/// hands a connection over (Acceptor), which ends before the server does.
class Fetcher {
 public:
  explicit Fetcher(const TlsFiles& files) : files_(&files) {}

  /// A grpc_ssl_server_certificate_config_callback; `self` is a Fetcher. One call at a time: gRPC holds a lock.
  static grpc_ssl_certificate_config_reload_status Fetch(void* self, grpc_ssl_server_certificate_config** config) {
    auto& fetcher = *static_cast<Fetcher*>(self);
    const TlsFiles::State state = fetcher.files_->state();
    if (state.generation == fetcher.generation_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    fetcher.generation_ = state.generation;
    const grpc_ssl_pem_key_cert_pair pair = {state.texts->key.c_str(), state.texts->certificate.c_str()};
    // gRPC 1.51 aborts without an authority, even where it asks clients for no certificate and so uses none.
    const std::string& authority = state.texts->client_ca.empty() ? state.texts->certificate : state.texts->client_ca;
    *config = grpc_ssl_server_certificate_config_create(authority.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

 private:
  const TlsFiles* files_;
  uint64_t generation_ = 0;  ///< that gRPC has
};

/// TLS of files that change. gRPC's own watcher of such files (FileWatcherCertificateProvider in 1.51) hands on a key
/// that does not match, and every handshake fails from then on; its C++ API has no other way to renew.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  TlsCredentials(std::unique_ptr<TlsFiles> files, bool mutual) : files_(std::move(files)), mutual_(mutual) {}

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    fetchers_.push_back(std::make_unique<Fetcher>(*files_));
    grpc_server_credentials* credentials =
        grpc_ssl_server_credentials_create_with_options(grpc_ssl_server_credentials_create_options_using_config_fetcher(
            mutual_ ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                    : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &Fetcher::Fetch, fetchers_.back().get()));
    const int port = grpc_server_add_http2_port(server, address.c_str(), credentials);
    grpc_server_credentials_release(credentials);
    return port;
  }

  const std::unique_ptr<TlsFiles> files_;
  const bool mutual_;
  std::vector<std::unique_ptr<Fetcher>> fetchers_;  ///< one for each port
};

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
  absl::StatusOr<std::unique_ptr<TlsFiles>> files = TlsFiles::Open(FileSystem::Real(), tls, kReload);
  if (!files.ok()) return files.status();
  return std::make_shared<TlsCredentials>(*std::move(files), /*mutual=*/!tls.client_ca.empty());
}

}  // namespace densityd::rpc
