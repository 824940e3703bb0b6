// What the clients that the file of grants names use, as metrics. Others are not told apart: their names come from the
// wire.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "prometheus/collectable.h"
#include "server/serving/client_quota.h"

namespace densityd::rpc {

/// Thread-safe where `list` is.
class ClientMetrics final : public prometheus::Collectable {
 public:
  using List = std::function<std::vector<std::shared_ptr<const serving::ClientQuota>>()>;
  explicit ClientMetrics(List list) : list_(std::move(list)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const List list_;
};

}  // namespace densityd::rpc
