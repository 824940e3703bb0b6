#include "client/ctl/session.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "client/ctl/files.h"

namespace densityd::ctl {

absl::StatusOr<std::string> Session::ReadToken() const {
  std::string text;
  if (!connection.token_file.empty()) {
    absl::StatusOr<std::string> content = ReadInput(connection.token_file, streams.in);
    if (!content.ok()) return content;
    text = *std::move(content);
    if (absl::StripAsciiWhitespace(text).empty()) {
      return absl::InvalidArgumentError(connection.token_file + " holds no token");
    }
  } else if (const char* variable = std::getenv("DENSITYD_TOKEN"); variable != nullptr) {
    text = variable;
  }
  return std::string(absl::StripAsciiWhitespace(text));
}

absl::StatusOr<Client> Session::Connect() const {
  ClientOptions options;
  options.address = connection.server;
  options.timeout = absl::Seconds(connection.timeout);
  options.retry.budget = absl::Seconds(connection.retry_for);
  options.max_message_bytes = connection.max_message_bytes;
  if (connection.tls || !connection.tls_ca.empty() || !connection.tls_cert.empty()) {
    options.tls.emplace();
    options.tls->server_name = connection.tls_server_name;
    const std::pair<const std::string&, std::string&> files[] = {
        {connection.tls_ca, options.tls->root_certificates},
        {connection.tls_cert, options.tls->client_certificate},
        {connection.tls_key, options.tls->client_key},
    };
    for (const auto& [path, text] : files) {
      if (path.empty()) continue;
      absl::StatusOr<std::string> content = ReadInput(path, streams.in);
      if (!content.ok()) return content.status();
      text = *std::move(content);
    }
  }
  absl::StatusOr<std::string> token = ReadToken();
  if (!token.ok()) return token.status();
  options.token = *std::move(token);
  if (connection.priority == "batch") options.priority = Priority::kBatch;
  options.insecure_token_over_plain_text = connection.insecure_token;
  absl::StatusOr<Client> client = Client::Connect(std::move(options));
  if (client.ok() || !absl::StrContains(client.status().message(), "as plain text")) return client;
  return absl::InvalidArgumentError(
      "the token would be sent to another machine as plain text; use --tls or --tls-ca, or, where something else "
      "protects the traffic, --insecure-token-over-plain-text");
}

}  // namespace densityd::ctl
