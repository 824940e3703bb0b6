// Connections as metrics.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "server/rpc/acceptor.h"

namespace densityd::rpc {

/// Thread-safe.
class ConnectionMetrics final : public prometheus::Collectable {
 public:
  explicit ConnectionMetrics(std::shared_ptr<const ConnectionCounts> counts) : counts_(std::move(counts)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const std::shared_ptr<const ConnectionCounts> counts_;
};

}  // namespace densityd::rpc
