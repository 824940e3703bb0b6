// Command line of the load generator: one run, its result as one line of JSON.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/service/load_generator.h"

int main(int argc, char** argv) {
  using densityd::bench::Arrivals;
  densityd::bench::LoadOptions options;
  double seconds = 3;
  std::string arrival = "closed";
  CLI::App app(
      "Calls LogProb in a closed loop, or in an open loop at a rate, and prints latencies and rates as JSON.\n\n"
      "Example: densityd_load --target 127.0.0.1:50051 --model power --cols 6 --concurrency 64");
  app.add_option("--target", options.target, "host:port of the server")->required();
  app.add_option("--model", options.model, "model reference")->required();
  app.add_option("--rows", options.rows, "rows per call")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--cols", options.cols, "columns per row")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--connections", options.connections, "TCP connections")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--concurrency", options.concurrency, "closed loop: calls in flight, in all")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--arrival", arrival, "closed, constant, poisson or bursty")
      ->capture_default_str()
      ->check(CLI::IsMember({"closed", "constant", "poisson", "bursty"}));
  app.add_option("--rate", options.rate, "open loop: calls per second")->check(CLI::PositiveNumber);
  app.add_option("--seconds", seconds, "measured seconds, after half a second of warm-up")->capture_default_str();
  app.add_option("--server-pid", options.server_pid, "process whose CPU time is counted");
  CLI11_PARSE(app, argc, argv);
  options.duration = absl::Seconds(seconds);
  const std::map<std::string, Arrivals::Kind> kinds = {{"constant", Arrivals::Kind::kConstant},
                                                       {"poisson", Arrivals::Kind::kPoisson},
                                                       {"bursty", Arrivals::Kind::kBursty}};
  if (const auto kind = kinds.find(arrival); kind != kinds.end()) {
    if (options.rate <= 0) {
      std::fprintf(stderr, "--arrival %s needs --rate\n", arrival.c_str());
      return 2;
    }
    options.arrival = kind->second;
  }
  const densityd::bench::LoadResult result = densityd::bench::GenerateLoad(options);
  const nlohmann::json json = {{"calls", result.latency.calls},
                               {"failures", result.failures},
                               {"first_failure", result.first_failure},
                               {"calls_per_second", result.calls_per_second},
                               {"rows_per_second", result.rows_per_second},
                               {"p50_us", result.latency.p50 * 1e6},
                               {"p99_us", result.latency.p99 * 1e6},
                               {"p999_us", result.latency.p999 * 1e6},
                               {"max_us", result.latency.max * 1e6},
                               {"server_cpu_us", result.server_cpu_per_call * 1e6}};
  std::printf("%s\n", json.dump().c_str());
  return result.failures == 0 && result.latency.calls > 0 ? 0 : 1;
}
