#include "server/telemetry/process_metrics.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>

namespace densityd::telemetry {
namespace {

using prometheus::MetricType;

/// The fields of /proc/self/stat that are used, in clock ticks, pages and bytes (proc(5)).
struct ProcessStat {
  uint64_t user_ticks = 0;
  uint64_t system_ticks = 0;
  uint64_t threads = 0;
  uint64_t start_ticks = 0;
  uint64_t virtual_bytes = 0;
  uint64_t resident_pages = 0;
};

std::optional<ProcessStat> ReadStat() {
  std::ifstream file("/proc/self/stat");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  // Field 2, the program's name, may hold spaces and parentheses: fields are counted from the last parenthesis.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  ProcessStat stat;
  for (int number = 3; number <= 24 && fields >> field; ++number) {
    const uint64_t value = std::strtoull(field.c_str(), nullptr, 10);
    switch (number) {
      case 14:
        stat.user_ticks = value;
        break;
      case 15:
        stat.system_ticks = value;
        break;
      case 20:
        stat.threads = value;
        break;
      case 22:
        stat.start_ticks = value;
        break;
      case 23:
        stat.virtual_bytes = value;
        break;
      case 24:
        stat.resident_pages = value;
        return stat;
      default:
        break;
    }
  }
  return std::nullopt;
}

/// Unix time of the machine's start, in seconds.
std::optional<double> ReadBootTime() {
  std::ifstream file("/proc/stat");
  std::string key;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    double value = 0;
    if (fields >> key >> value && key == "btime") return value;
  }
  return std::nullopt;
}

std::optional<double> CountOpenFiles() {
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/self/fd", error);
  if (error) return std::nullopt;
  return static_cast<double>(std::distance(begin(entries), end(entries)));
}

void Add(std::vector<prometheus::MetricFamily>& families, const char* name, const char* help, MetricType type,
         double value) {
  prometheus::ClientMetric metric;
  metric.counter.value = value;
  metric.gauge.value = value;
  families.push_back({name, help, type, {metric}});
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  if (const auto stat = ReadStat()) {
    const auto ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
    const double cpu = static_cast<double>(stat->user_ticks + stat->system_ticks) / ticks_per_second;
    Add(families, "process_cpu_seconds_total", "User and system CPU time in seconds.", MetricType::Counter, cpu);
    Add(families, "process_threads", "Threads.", MetricType::Gauge, static_cast<double>(stat->threads));
    Add(families, "process_virtual_memory_bytes", "Virtual memory size in bytes.", MetricType::Gauge,
        static_cast<double>(stat->virtual_bytes));
    Add(families, "process_resident_memory_bytes", "Resident memory size in bytes.", MetricType::Gauge,
        static_cast<double>(stat->resident_pages) * static_cast<double>(sysconf(_SC_PAGESIZE)));
    if (const auto boot = ReadBootTime()) {
      Add(families, "process_start_time_seconds", "Start time of the process, Unix time in seconds.", MetricType::Gauge,
          *boot + static_cast<double>(stat->start_ticks) / ticks_per_second);
    }
  }
  if (const auto open_files = CountOpenFiles()) {
    Add(families, "process_open_fds", "Open file descriptors.", MetricType::Gauge, *open_files);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    Add(families, "process_max_fds", "Limit of open file descriptors.", MetricType::Gauge,
        static_cast<double>(limit.rlim_cur));
  }
  return families;
}

}  // namespace densityd::telemetry
