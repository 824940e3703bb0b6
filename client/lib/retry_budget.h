// How often the calls of one client may be repeated, all together.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace densityd::client_internal {

/// A share of the calls, and some per second (RetryPolicy). Whoever finds none left owes one, and waits until time and
/// calls have made up for it. Thread-safe.
class RetryBudget {
 public:
  RetryBudget(double max_share, double least_per_second, absl::Time now);

  /// A call begins.
  void OnCall(absl::Time now);
  /// Takes a repetition; how long to wait for it, infinitely where there will be none (then none was taken).
  absl::Duration Take(absl::Time now);
  /// A repetition that was taken is not made.
  void GiveBack();

 private:
  void Refill(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const double max_share_;
  const double per_second_;
  const double most_;  ///< that are saved up
  absl::Mutex mutex_;
  double left_ ABSL_GUARDED_BY(mutex_);  ///< below zero: what those who wait are owed
  absl::Time time_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::client_internal
