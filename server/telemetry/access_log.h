// One structured log line for every call that failed or was slow.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/telemetry/rpc_method.h"

namespace densityd::telemetry {

/// What is worth knowing about a call. Views live for the call of Record only.
struct CallRecord {
  RpcMethod method = RpcMethod::kLogProb;
  absl::Status status = {};
  absl::Duration duration = {};
  std::string_view model = {};        ///< as asked for, or empty
  uint64_t rows = 0;                  ///< 0 where the call has none
  std::string_view peer = {};         ///< address of the caller
  std::string_view traceparent = {};  ///< header, or empty
};

struct AccessLogOptions {
  absl::Duration slow = absl::Seconds(1);  ///< calls that took at least this long are logged
  int lines_per_second = 50;               ///< more are counted and mentioned in the next line
};

/// Thread-safe. Failed calls: warning where the server is at fault (UNKNOWN, INTERNAL, DATA_LOSS, UNAVAILABLE), else
/// info.
class AccessLog {
 public:
  AccessLog(AccessLogOptions options, const Clock& clock) : options_(options), clock_(&clock) {}

  /// Whether a call with this outcome is logged: ask before preparing costly facts.
  bool Wants(const absl::Status& status, absl::Duration duration) const {
    return !status.ok() || duration >= options_.slow;
  }

  /// Writes the line if it is wanted and the rate allows it.
  void Record(const CallRecord& record);

 private:
  /// The number of lines left out since the last one, or -1 where this one is to be left out too.
  int64_t Admit();

  const AccessLogOptions options_;
  const Clock* clock_;
  absl::Mutex mutex_;
  absl::Time second_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  int lines_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t suppressed_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace densityd::telemetry
