// One request's rows on their way through the scheduler.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/memory_budget.h"
#include "server/engine/plan.h"
#include "server/serving/priority.h"

namespace densityd::serving {

/// Owned by the caller; stays alive, and all but `cancelled` unchanged, from Submit until Done is called. May be
/// submitted again after that.
class RowJob {
 public:
  virtual ~RowJob() = default;

  std::shared_ptr<const engine::Plan> plan;  ///< keeps its model version in memory
  engine::Op op = engine::Op::kLogProb;
  engine::RowSpan span;  ///< all rows of the request
  uint64_t client = 0;   ///< who asks: clients get equal shares
  Priority priority = Priority::kInteractive;
  size_t bytes = 0;  ///< memory of the request and its answer, for admission
  absl::Time deadline = absl::InfiniteFuture();
  std::atomic<bool> cancelled{false};  ///< set by anyone; rows that are not computed yet never will be

  /// Set by Submit: `bytes`, which count against the ceiling until this is released. It may have been held before
  /// (Scheduler::Hold), for what had come of the request. The owner keeps it until the memory is free, which may be
  /// after Done: while the answer is being sent. The scheduler outlives it.
  Reservation memory;

  /// Called exactly once, on a worker's thread, when all rows are computed (OK) or given up (CANCELLED,
  /// DEADLINE_EXCEEDED, the plan's error, UNAVAILABLE when the scheduler is destroyed). May destroy the job, and may
  /// submit other ones.
  virtual void Done(absl::Status status) = 0;

 private:
  friend class LargeJobs;

  /// How far a job that is cut into tiles has come. Guarded by the mutex of LargeJobs.
  struct Progress {
    size_t tile_rows = 0;
    size_t next_row = 0;  ///< rows before it were given to workers
    size_t running = 0;   ///< tiles in computation
    size_t left = 0;      ///< rows that were counted out: their tiles were computed, or failed
    bool queued = false;  ///< more tiles are to be cut
    absl::Status error;   ///< the first one, or why it was given up
  };
  Progress progress_;
};

/// Why `job` must not be computed any more: CANCELLED or DEADLINE_EXCEEDED; OK where it may.
absl::Status GiveUpReason(const RowJob& job, absl::Time now);
/// DEADLINE_EXCEEDED where an answer that is computed at `computed` reaches its caller too late.
absl::Status CheckInTime(const RowJob& job, absl::Time computed);
/// From the end of a run until its answers are with their callers: they are made and sent one after the other, and the
/// callers' deadlines are of whole milliseconds on their way here.
inline constexpr absl::Duration kDelivery = absl::Microseconds(300);

}  // namespace densityd::serving
