// Repetition of failed calls: exponential back-off with jitter, within a budget and a deadline.
#pragma once

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/lib/retry_budget.h"
#include "densityd/options.h"

namespace densityd::client_internal {

/// Time and chance, as something that tests can hold in their hands. Thread-safe.
class RetryEnvironment {
 public:
  virtual ~RetryEnvironment() = default;
  virtual absl::Time Now() = 0;
  virtual void Sleep(absl::Duration duration) = 0;
  /// Uniform in [0, 1).
  virtual double Uniform() = 0;

  /// The system's clock and a random generator.
  static RetryEnvironment& Real();
};

/// Whether a call that failed with `status` may do better when it is repeated.
bool MayPass(const absl::Status& status);

/// Decides, after each failed attempt of one call, whether and when to try again. Not thread-safe.
class Backoff {
 public:
  /// A call begins. `budget`, which outlives it, is that of its client; null: it has none.
  Backoff(const RetryPolicy& policy, absl::Time deadline, RetryEnvironment& environment, RetryBudget* budget = nullptr);

  /// How long to wait before the next attempt; unset: give up. To be asked once after each failed attempt.
  std::optional<absl::Duration> Next(const absl::Status& status);
  /// Counts an attempt that is to begin beside the one under way; false: there may be none.
  bool TakeAttempt();
  /// Forgets the failures so far: the call made progress.
  void Reset();
  /// `status`, saying how often and how long it was tried where that was more than once.
  absl::Status Exhausted(const absl::Status& status) const;

 private:
  RetryPolicy policy_;
  absl::Time deadline_;
  RetryEnvironment* environment_;
  RetryBudget* budget_;
  absl::Time start_;
  absl::Duration backoff_;
  int attempts_ = 0;
};

/// Calls `attempt` until it succeeds or Backoff gives up; returns the last status.
absl::Status Retry(Backoff backoff, RetryEnvironment& environment, absl::FunctionRef<absl::Status(Backoff&)> attempt);

}  // namespace densityd::client_internal
