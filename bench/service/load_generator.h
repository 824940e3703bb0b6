// Calls LogProb as fast as the server answers (closed loop), or at a given rate (open loop).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "bench/service/arrivals.h"
#include "bench/service/latency.h"
#include "density/v1/density_estimator.grpc.pb.h"

namespace densityd::bench {

/// One kind of call.
struct Stream {
  std::string model;    ///< model reference
  uint64_t rows = 1;    ///< rows per call
  int concurrency = 1;  ///< closed loop: calls in flight, in all
};

struct LoadOptions {
  std::string target;  ///< host:port
  uint64_t cols = 6;   ///< columns per row
  int connections = 1;
  /// All at the same time, over the same connections. At least one.
  std::vector<Stream> streams;
  std::optional<Arrivals::Kind> arrival;  ///< set: the first stream is an open loop; the others stay closed loops
  double rate = 0;                        ///< open loop: calls per second
  bool sleeps = false;                    ///< open loop: until the next start, which is late then by up to 2 ms
  absl::Duration warmup = absl::Milliseconds(500);
  absl::Duration duration = absl::Seconds(3);
  int64_t server_pid = 0;  ///< 0: CPU time is not measured
};

/// What became of one stream's calls.
struct StreamResult {
  LatencySummary latency;  ///< open loop: from the intended start, so that a stall is not forgiven
  double calls_per_second = 0;
  double rows_per_second = 0;
  uint64_t failures = 0;
  std::string first_failure;
};

struct LoadResult {
  std::vector<StreamResult> streams;  ///< as in the options
  LatencySummary lateness;            ///< open loop: how long after the intended moment calls were started
  double server_cpu_per_call = 0;     ///< seconds, over calls of all streams; 0 where it was not measured
};

/// Drives one run on the calling thread. Calls that start in the warm-up are not counted.
LoadResult GenerateLoad(const LoadOptions& options);

}  // namespace densityd::bench
