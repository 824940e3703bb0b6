#include "server/rpc/connection_metrics.h"

#include "prometheus/metric_family.h"

namespace densityd::rpc {
namespace {

constexpr const char* kReasonNames[kShedReasons] = {"total", "address", "descriptors"};

prometheus::ClientMetric Counter(const std::atomic<uint64_t>& count) {
  prometheus::ClientMetric metric;
  metric.counter.value = static_cast<double>(count.load(std::memory_order_relaxed));
  return metric;
}

}  // namespace

std::vector<prometheus::MetricFamily> ConnectionMetrics::Collect() const {
  prometheus::MetricFamily accepted;
  accepted.name = "densityd_connections_accepted_total";
  accepted.help = "Connections that were accepted.";
  accepted.type = prometheus::MetricType::Counter;
  accepted.metric.push_back(Counter(counts_->accepted));

  prometheus::MetricFamily shed;
  shed.name = "densityd_connections_shed_total";
  shed.help = "Connections that were closed at once, by the limit that they met.";
  shed.type = prometheus::MetricType::Counter;
  for (int i = 0; i < kShedReasons; ++i) {
    prometheus::ClientMetric metric = Counter(counts_->shed[static_cast<size_t>(i)]);
    metric.label.push_back({"reason", kReasonNames[i]});
    shed.metric.push_back(std::move(metric));
  }

  prometheus::MetricFamily flooded;
  flooded.name = "densityd_connections_flooded_total";
  flooded.help = "Connections that were ended since they gave calls up faster than these could be dealt with.";
  flooded.type = prometheus::MetricType::Counter;
  flooded.metric.push_back(Counter(counts_->flooded));

  prometheus::MetricFamily accepting;
  accepting.name = "densityd_accepting_connections";
  accepting.help = "1 while connections are accepted.";
  accepting.type = prometheus::MetricType::Gauge;
  prometheus::ClientMetric up;
  up.gauge.value = counts_->accepting ? 1 : 0;
  accepting.metric.push_back(up);
  return {accepted, shed, flooded, accepting};
}

}  // namespace densityd::rpc
