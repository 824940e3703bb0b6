#include "server/telemetry/process_metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <thread>

namespace densityd::telemetry {
namespace {

std::map<std::string, double> Read() {
  std::map<std::string, double> values;
  for (const auto& family : ProcessMetrics().Collect()) {
    const auto& metric = family.metric.at(0);
    values[family.name] = family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
  }
  return values;
}

TEST(ProcessMetrics, HaveTheUsualNamesAndPlausibleValues) {
  const auto values = Read();
  EXPECT_GE(values.at("process_cpu_seconds_total"), 0);
  EXPECT_GT(values.at("process_resident_memory_bytes"), 1e6);
  EXPECT_GE(values.at("process_virtual_memory_bytes"), values.at("process_resident_memory_bytes"));
  EXPECT_GE(values.at("process_open_fds"), 3);
  EXPECT_GE(values.at("process_max_fds"), values.at("process_open_fds"));
  EXPECT_GT(values.at("process_start_time_seconds"), 1.5e9);
}

TEST(ProcessMetrics, CountThreads) {
  const double before = Read().at("process_threads");
  double during = 0;
  std::thread([&during] { during = Read().at("process_threads"); }).join();
  EXPECT_EQ(during, before + 1);
}

}  // namespace
}  // namespace densityd::telemetry
