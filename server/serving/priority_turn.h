// Whose turn it is on one worker: interactive or batch rows.
#pragma once

#include "absl/time/time.h"
#include "server/serving/priority.h"

namespace densityd::serving {

/// How long batch rows wait while interactive ones do, and the share of the compute time that they get then.
inline constexpr absl::Duration kBatchPatience = absl::Seconds(1);
inline constexpr double kBatchShare = 0.1;

/// Interactive rows go first, and where they have put off batch rows for kBatchPatience, these get kBatchShare of the
/// time until none of them wait. Not thread-safe.
class PriorityTurn {
 public:
  /// Who is to be served first now, where rows of at least one priority wait.
  Priority First(bool interactive, bool batch, absl::Time now);
  /// Nobody waits.
  void OnIdle() { put_off_since_ = absl::InfiniteFuture(); }
  /// Rows of `priority` were computed for so long.
  void Count(Priority priority, double seconds);

 private:
  absl::Time put_off_since_ = absl::InfiniteFuture();  ///< batch rows by interactive ones; InfiniteFuture: they are not
  double owed_ = 0;                                    ///< compute seconds, to batch rows
};

}  // namespace densityd::serving
