#include "client/lib/channel.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <climits>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace densityd::client_internal {
namespace {

constexpr absl::Duration kLongestWithoutAttempt = absl::Seconds(1);

/// Whole milliseconds as gRPC's integer argument; infinite or very long durations become its largest value.
int Milliseconds(absl::Duration duration) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(duration), INT_MAX));
}

absl::Status Bad(const char* option, const char* problem) {
  return absl::InvalidArgumentError(absl::StrCat("ClientOptions::", option, " ", problem));
}

/// Whether the peer of an address is on this machine, whatever names resolve to.
bool IsLoopback(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) return true;
  std::string host = address.substr(0, address.rfind(':'));
  if (host == "localhost") return true;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  in_addr v4 = {};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6 = {};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status CheckToken(const ClientOptions& options) {
  if (options.token.empty()) return absl::OkStatus();
  const bool printable =
      std::all_of(options.token.begin(), options.token.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (!printable) return Bad("token", "has blanks or control characters; give the token alone");
  if (options.tls.has_value() || options.insecure_token_over_plain_text || IsLoopback(options.address)) {
    return absl::OkStatus();
  }
  return Bad("token", "would be sent to another machine as plain text; use tls");
}

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const std::optional<TlsOptions>& tls) {
  if (!tls.has_value()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls->root_certificates;
  options.pem_private_key = tls->client_key;
  options.pem_cert_chain = tls->client_certificate;
  return grpc::SslCredentials(options);
}

}  // namespace

absl::Status CheckOptions(const ClientOptions& options) {
  constexpr size_t kSmallestMessage = 16384;
  if (options.address.empty()) return Bad("address", "is empty; give host:port");
  if (options.timeout <= absl::ZeroDuration()) return Bad("timeout", "must be positive");
  if (options.retry.max_attempts < 1) return Bad("retry.max_attempts", "must be at least 1");
  if (options.retry.initial_backoff <= absl::ZeroDuration()) return Bad("retry.initial_backoff", "must be positive");
  if (!(options.retry.multiplier >= 1)) return Bad("retry.multiplier", "must be at least 1");
  if (!(options.retry.jitter >= 0 && options.retry.jitter <= 1)) return Bad("retry.jitter", "must be within [0, 1]");
  if (options.hedge.delay <= absl::ZeroDuration()) return Bad("hedge.delay", "must be positive");
  if (!(options.hedge.max_share > 0 && options.hedge.max_share <= 1)) {
    return Bad("hedge.max_share", "must be within (0, 1]");
  }
  if (options.hedge.delay < absl::InfiniteDuration() && options.retry.max_attempts < 2) {
    return Bad("hedge.delay", "needs a retry.max_attempts of at least 2: it is one of them");
  }
  if (options.max_message_bytes < kSmallestMessage || options.max_message_bytes > INT_MAX) {
    return Bad("max_message_bytes", "must be within [16384, 2147483647]");
  }
  if (options.max_request_rows == 0) return Bad("max_request_rows", "must be at least 1");
  if (options.tls.has_value() && options.tls->client_certificate.empty() != options.tls->client_key.empty()) {
    return Bad("tls", "needs client_certificate and client_key together");
  }
  return CheckToken(options);
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options, bool own_connections) {
  grpc::ChannelArguments arguments;
  if (own_connections) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  arguments.SetMaxSendMessageSize(static_cast<int>(options.max_message_bytes));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(options.keepalive_timeout));
  // A name with several addresses is several servers: calls go to each in turn, and round those that are down.
  arguments.SetLoadBalancingPolicyName("round_robin");
  // gRPC's own pace (1 s … 2 min) would fail calls at once long after the server is back. Within the time that a call
  // is repeated each server that came back is to be found: where several restart one after another, the next goes down
  // as soon as this one is up.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, Milliseconds(options.retry.initial_backoff));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                   Milliseconds(std::min(options.retry.max_backoff, kLongestWithoutAttempt)));
  if (options.tls.has_value() && !options.tls->server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls->server_name);
  }
  return grpc::CreateCustomChannel(options.address, MakeCredentials(options.tls), arguments);
}

}  // namespace densityd::client_internal
