// GET /metrics for Prometheus, on a port of its own.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

namespace densityd::telemetry {

/// Serves until destroyed. Thread-safe.
class MetricsEndpoint {
 public:
  /// Listens on `address`, for example "127.0.0.1:9464"; port 0 picks a free one. UNAVAILABLE where it cannot listen.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address,
                                                                std::shared_ptr<prometheus::Collectable> metrics);

  int port() const { return port_; }

 private:
  MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::shared_ptr<prometheus::Collectable> metrics);

  std::shared_ptr<prometheus::Collectable> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  int port_ = 0;
};

}  // namespace densityd::telemetry
