#include "server/rpc/client_metrics.h"

#include <string>

#include "prometheus/metric_family.h"

namespace densityd::rpc {
namespace {

prometheus::MetricFamily Family(const char* name, const char* help, prometheus::MetricType type) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

prometheus::ClientMetric& AddFor(const std::string& client, prometheus::MetricFamily& family) {
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  metric.label.push_back({"client", client});
  return metric;
}

}  // namespace

std::vector<prometheus::MetricFamily> ClientMetrics::Collect() const {
  using prometheus::MetricType;
  auto rows =
      Family("densityd_client_rows_total", "Rows that a client asked for and was not refused.", MetricType::Counter);
  auto calls = Family("densityd_client_calls", "Calls of a client that are in flight.", MetricType::Gauge);
  auto refused = Family("densityd_client_refused_total", "Calls of a client that its quota refused, by limit.",
                        MetricType::Counter);
  for (const auto& quota : list_()) {
    AddFor(quota->name(), rows).counter.value = static_cast<double>(quota->rows());
    AddFor(quota->name(), calls).gauge.value = static_cast<double>(quota->calls());
    for (const auto& [reason, count] :
         {std::pair("rows", quota->refused_rows()), std::pair("calls", quota->refused_calls())}) {
      prometheus::ClientMetric& metric = AddFor(quota->name(), refused);
      metric.label.push_back({"reason", reason});
      metric.counter.value = static_cast<double>(count);
    }
  }
  return {rows, calls, refused};
}

}  // namespace densityd::rpc
