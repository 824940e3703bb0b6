#include "client/ctl/session.h"

#include <fstream>
#include <sstream>

#include "client/ctl/files.h"

namespace densityd::ctl {

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
  return Client::Connect(std::move(options));
}

}  // namespace densityd::ctl
