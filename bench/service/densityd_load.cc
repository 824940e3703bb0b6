// Command line of the load generator: one run, its result as one line of JSON.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "bench/service/load_generator.h"
#include "server/base/locks.h"

namespace {

using densityd::bench::Arrivals;
using densityd::bench::LoadOptions;
using densityd::bench::LoadResult;
using densityd::bench::Stream;
using densityd::bench::StreamResult;

/// "MODEL:ROWS:CONCURRENCY"; false where it is something else.
bool ParseStream(const std::string& text, Stream& stream) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() != 3) return false;
  stream.model = parts[0];
  return absl::SimpleAtoi(parts[1], &stream.rows) && stream.rows > 0 &&
         absl::SimpleAtoi(parts[2], &stream.concurrency) && stream.concurrency > 0;
}

nlohmann::json ToJson(const StreamResult& stream) {
  return {{"calls", stream.latency.calls},
          {"failures", stream.failures},
          {"first_failure", stream.first_failure},
          {"calls_per_second", stream.calls_per_second},
          {"rows_per_second", stream.rows_per_second},
          {"mean_us", stream.latency.mean * 1e6},
          {"p50_us", stream.latency.p50 * 1e6},
          {"p99_us", stream.latency.p99 * 1e6},
          {"p999_us", stream.latency.p999 * 1e6},
          {"max_us", stream.latency.max * 1e6}};
}

}  // namespace

int main(int argc, char** argv) {
  densityd::ConfigureLocks();
  LoadOptions options;
  Stream first;
  std::vector<std::string> others;
  double seconds = 3;
  double warmup = 0.5;
  std::string arrival = "closed";
  CLI::App app(
      "Calls LogProb in a closed loop, or in an open loop at a rate, and prints latencies and rates as JSON. Calls "
      "that "
      "fail are counted and reported.\n\n"
      "Example: densityd_load --target 127.0.0.1:50051 --model power --cols 6 --concurrency 64");
  app.add_option("--target", options.target, "host:port of the server")->required();
  app.add_option("--model", first.model, "model reference")->required();
  app.add_option("--rows", first.rows, "rows per call")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--cols", options.cols, "columns per row")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--connections", options.connections, "TCP connections")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--concurrency", first.concurrency, "closed loop: calls in flight, in all")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--also", others,
                 "MODEL:ROWS:CONCURRENCY, a second kind of call at the same time, in a closed loop; may be repeated");
  app.add_option("--arrival", arrival, "closed, constant, poisson or bursty")
      ->capture_default_str()
      ->check(CLI::IsMember({"closed", "constant", "poisson", "bursty"}));
  app.add_option("--rate", options.rate, "open loop: calls per second")->check(CLI::PositiveNumber);
  app.add_flag("--sleep", options.sleeps,
               "open loop: sleep until the next start, up to 2 ms too long, and leave that core to the server");
  app.add_option("--seconds", seconds, "measured seconds, after the warm-up")->capture_default_str();
  app.add_option("--warmup", warmup, "seconds before that")->capture_default_str();
  app.add_option("--server-pid", options.server_pid, "process whose CPU time is counted");
  CLI11_PARSE(app, argc, argv);
  options.duration = absl::Seconds(seconds);
  options.warmup = absl::Seconds(warmup);
  options.streams.push_back(first);
  for (const std::string& text : others) {
    if (!ParseStream(text, options.streams.emplace_back())) {
      std::fprintf(stderr, "--also %s: MODEL:ROWS:CONCURRENCY is wanted\n", text.c_str());
      return 2;
    }
  }
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
  const LoadResult result = densityd::bench::GenerateLoad(options);
  nlohmann::json json = ToJson(result.streams[0]);
  if (options.arrival.has_value()) json["late_p99_us"] = result.lateness.p99 * 1e6;
  json["server_cpu_us"] = result.server_cpu_per_call * 1e6;
  json["also"] = nlohmann::json::array();
  for (size_t i = 1; i < result.streams.size(); ++i) json["also"].push_back(ToJson(result.streams[i]));
  std::printf("%s\n", json.dump().c_str());
  return 0;
}
