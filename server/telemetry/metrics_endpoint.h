// GET /metrics for Prometheus, on a port of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

namespace densityd::telemetry {

/// Serves until destroyed. Thread-safe.
class MetricsEndpoint {
 public:
  /// Whether the password of HTTP basic authentication is good; the user's name says nothing.
  using IsAllowed = std::function<bool(const std::string& password)>;

  /// Listens on `address`, for example "127.0.0.1:9464"; port 0 picks a free one. With `is_allowed`, others are
  /// answered 401. UNAVAILABLE where it cannot listen.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const std::string& address,
                                                                std::shared_ptr<prometheus::Collectable> metrics,
                                                                IsAllowed is_allowed = nullptr);

  int port() const { return port_; }

 private:
  MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer, std::shared_ptr<prometheus::Collectable> metrics);

  std::shared_ptr<prometheus::Collectable> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  int port_ = 0;
};

}  // namespace densityd::telemetry
