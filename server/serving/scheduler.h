// Rows, not requests: fuses the rows of small requests into tiles and cuts large requests into them.
//
// One worker per core runs to completion. A worker submits the requests that it received, then runs tiles until it has
// none:
//
//   while (...) {
//     for each received request: scheduler.Submit(worker, job);
//     while (scheduler.RunOne(worker)) drain_what_arrived();
//   }
//
// The scheduler knows neither gRPC nor LibTorch; it is tested with a fake clock and fake plans.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/engine/plan.h"

namespace densityd::serving {

/// One request's rows on their way through the scheduler. Owned by the caller; stays alive until Done returns.
class RowJob {
 public:
  virtual ~RowJob() = default;

  std::shared_ptr<const engine::Plan> plan;  ///< keeps its model version in memory
  engine::Op op = engine::Op::kLogProb;
  engine::RowSpan span;                      ///< all rows of the request
  size_t bytes = 0;                          ///< memory of the request and its answer, for admission
  absl::Time deadline = absl::InfiniteFuture();
  std::atomic<bool> cancelled{false};        ///< set by anyone; rows that are not computed yet never will be

  /// Called exactly once, on a worker's thread, when all rows are computed (OK) or given up (CANCELLED,
  /// DEADLINE_EXCEEDED, the plan's error).
  virtual void Done(absl::Status status) = 0;
};

/// Told what happens, for metrics. Called on the workers' threads.
class SchedulerObserver {
 public:
  virtual ~SchedulerObserver() = default;
  /// One run of a plan: `rows` of `jobs` requests took `compute`.
  virtual void OnTile(int worker, engine::Op op, size_t rows, size_t jobs, absl::Duration compute) = 0;
  /// A request's first rows began after this wait.
  virtual void OnQueued(int worker, absl::Duration wait) = 0;
  /// A request was refused or given up: "rows", "bytes", "deadline", "cancelled".
  virtual void OnRejected(const char* reason) = 0;
};

struct SchedulerOptions {
  int workers = 1;
  size_t max_queued_rows = 4 << 20;
  size_t max_queued_bytes = size_t{2} << 30;
};

/// Thread-safe: each worker index is used by one thread at a time.
class Scheduler {
 public:
  /// `wake(worker)` is called, from any thread, when an idle worker could help with a large request; may be null.
  Scheduler(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer, std::function<void(int)> wake);
  ~Scheduler();

  /// Queues a job. RESOURCE_EXHAUSTED with a RetryInfo when the queue is full; DEADLINE_EXCEEDED when it cannot be done
  /// in time. On an error Done is not called.
  absl::Status Submit(int worker, RowJob& job);

  /// Runs at most one tile for `worker`: of its own jobs, or stolen from a large one. False when there was nothing.
  bool RunOne(int worker);

  /// Rows and bytes that are queued or in computation.
  size_t queued_rows() const;
  size_t queued_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace densityd::serving
