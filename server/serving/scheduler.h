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
// What is promised:
// - Rows of small requests (up to the plan's tile_rows) of the same plan and op that wait on a worker share one run.
//   Nobody waits for a run to fill. What a worker leaves waiting while it computes is taken by those that have time.
// - A larger request is cut into equal tiles; any worker that has time takes the next one. Small and large requests,
//   the models among each, and a model's ops get equal shares of a worker's compute time, and clients equal shares of
//   the rows, while they have rows waiting.
// - Of a client's requests, and between clients that got the same, the more urgent deadline goes first; but a request
//   waits at most about a second for later ones with less time.
// - Batch requests go when no interactive ones wait. But they are not put off for ever: while interactive ones keep a
//   worker busy, batch requests that have waited there for a second get a tenth of its compute time. Each priority is
//   shared as said above.
// - Rows whose request was cancelled or has expired, or would have before its answer could be there, are not computed;
//   and a run is kept so short that those who share it are answered in time.
// - A request that cannot be done before its deadline, by what runs were measured to cost at least, is refused at once.
// - The rows that wait or are computed have one ceiling, and so have the bytes of requests and answers until they are
//   sent.
// - A run that fails is repeated for each of its requests alone, so that a request fails by its own rows only.
//
// The scheduler knows neither gRPC nor LibTorch; it is tested with a fake clock and fake plans.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/memory_budget.h"
#include "server/engine/plan.h"
#include "server/serving/row_job.h"

namespace densityd::serving {

/// Told what happens, for metrics. Called on the workers' threads.
class SchedulerObserver {
 public:
  virtual ~SchedulerObserver() = default;
  /// One run of a plan: `rows` of `jobs` requests took `compute`.
  virtual void OnTile(int worker, engine::Op op, size_t rows, size_t jobs, absl::Duration compute) = 0;
  /// A request's first rows began after this wait.
  virtual void OnQueued(int worker, Priority priority, absl::Duration wait) = 0;
  /// A request was refused or given up: "rows", "bytes", "deadline", "cancelled".
  virtual void OnRejected(const char* reason) = 0;
};

struct SchedulerOptions {
  int workers = 1;
  size_t max_queued_rows = 4 << 20;
  size_t max_queued_bytes = size_t{2} << 30;
  MemoryBudget* memory = nullptr;  ///< of which these are a part; outlives the scheduler; null: there is none
};

/// Each worker index is used by one thread at a time; the others may be used at the same time.
class Scheduler {
 public:
  /// `wake(worker)` is called, from any thread and without locks held, when a worker whose RunOne found nothing could
  /// help others; may be null. `clock` and `observer` (which may be null) outlive the scheduler.
  Scheduler(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer, std::function<void(int)> wake);
  /// Jobs that still wait are done with UNAVAILABLE. Precondition: no thread is in a call.
  ~Scheduler();

  /// RESOURCE_EXHAUSTED, as from Submit, where so many rows would not be let in now: for callers that would otherwise
  /// take memory for an answer that nobody gets.
  absl::Status CheckRoom(size_t rows) const;
  /// The same where not one row would be let in, for a request that nobody has read yet.
  absl::Status CheckAnyRoom() const;
  /// Makes `held` a reservation of `bytes` bytes under the ceiling for requests and answers, for a request that is
  /// still coming in: the memory of the job that it becomes. RESOURCE_EXHAUSTED, as from Submit, where it does not fit;
  /// `held` stays as it was then, and the observer is not told. What becomes smaller always fits. Thread-safe.
  absl::Status Hold(size_t bytes, Reservation& held);
  size_t max_queued_bytes() const;
  /// Queues a job. RESOURCE_EXHAUSTED when the queue is full, with a RetryInfo by the measured throughput (without one
  /// where the job alone is larger than the queue); DEADLINE_EXCEEDED when it cannot be done in time, with a RetryInfo
  /// where as much time would do once less waits; CANCELLED when it already is; INVALID_ARGUMENT for a job without
  /// rows. On an error Done is not called.
  absl::Status Submit(int worker, RowJob& job);

  /// Runs at most one tile for `worker`: of its own jobs, of a large one, or of those that another one has no time for.
  /// False when there was nothing.
  bool RunOne(int worker);

  /// Rows that are queued or in computation (of a large request, those in tiles that are not computed yet), and bytes
  /// of requests and of answers whose memory is not released.
  size_t queued_rows() const;
  size_t queued_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace densityd::serving
