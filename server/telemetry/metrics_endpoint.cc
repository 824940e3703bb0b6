#include "server/telemetry/metrics_endpoint.h"

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace densityd::telemetry {

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(
    const std::string& address, std::shared_ptr<prometheus::Collectable> metrics, IsAllowed is_allowed) {
  // Each connection holds a thread until its request has come and is answered. Scrapers send theirs at once; whoever
  // is silent, or reads nothing, is given up soon, so that a few of them keep nobody waiting.
  const std::vector<std::string> options = {"listening_ports",    address, "num_threads",       "16",
                                            "request_timeout_ms", "2000",  "enable_keep_alive", "no"};
  // The library reports failures by exceptions.
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(options);
    if (is_allowed != nullptr) {
      exposer->RegisterAuth([is_allowed = std::move(is_allowed)](
                                const std::string&, const std::string& password) { return is_allowed(password); },
                            "densityd");
    }
    exposer->RegisterCollectable(metrics);
    return std::unique_ptr<MetricsEndpoint>(new MetricsEndpoint(std::move(exposer), std::move(metrics)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot serve metrics on ", address, ": ", error.what(),
                                               "; is the port taken? Choose another with --metrics-address"));
  }
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer,
                                 std::shared_ptr<prometheus::Collectable> metrics)
    : metrics_(std::move(metrics)), exposer_(std::move(exposer)) {
  const std::vector<int> ports = exposer_->GetListeningPorts();
  if (!ports.empty()) port_ = ports.front();
}

}  // namespace densityd::telemetry
