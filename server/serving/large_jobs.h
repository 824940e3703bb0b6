// Jobs larger than a tile, shared by all workers, who take one tile after the other.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/serving/job_queue.h"
#include "server/serving/row_job.h"
#include "server/serving/run_cost.h"

namespace densityd::serving {

/// A job whose Done is due.
struct FinishedJob {
  RowJob* job = nullptr;
  absl::Status status;
};
/// Kept for its memory: filled by one call after the other, then emptied.
using FinishedJobs = std::vector<FinishedJob>;

/// Of one priority. Thread-safe.
class LargeJobs {
 public:
  explicit LargeJobs(CostTable& costs) : queue_(costs) {}

  /// Rows of each tile but the last: tiles of a job are equally large, in whole vectors of 16 rows.
  static size_t TileRows(size_t rows, size_t max_tile_rows);

  /// Counts out the rows of a job, of any size, that is done: how many of them still counted.
  static size_t CountOut(RowJob& job) { return job.span.rows - std::exchange(job.progress_.left, 0); }

  /// Adds a job.
  void Add(RowJob& job, absl::Time now, double seconds);

  /// Jobs with tiles that nobody took yet.
  size_t waiting() const { return waiting_.load(std::memory_order_seq_cst); }

  /// See JobQueue.
  double SecondsThrough(const RowJob& job, absl::Time urgency, double seconds);
  double TotalSeconds();

  /// Rows [begin, begin + rows) of a job, given to one worker, which must Complete them.
  struct Tile {
    RowJob* job;
    size_t begin;
    size_t rows;
    absl::Time queued_at;
    std::shared_ptr<PlanCost> cost;
  };
  /// The next tile, if any. Jobs that were cancelled or expired meanwhile, or of which `workers` workers cannot compute
  /// what is left so that the answer is there in time, go to `finished` unless other tiles of them are still in
  /// computation.
  std::optional<Tile> Take(absl::Time now, int workers, FinishedJobs& finished);

  /// The tile was computed in `seconds`, and its rows were counted out. After an error no more tiles of its job are
  /// given out. Adds the job to `finished` when this was its last tile in computation.
  void Complete(const Tile& tile, const absl::Status& status, double seconds, FinishedJobs& finished);

  /// Takes out all jobs, with `status`. Precondition: no tile is in computation.
  void Abandon(const absl::Status& status, FinishedJobs& finished);

 private:
  /// Why the job must not, or need not, be computed any further; OK where it may.
  static absl::Status GiveUp(const RowJob& job, const PlanCost& cost, absl::Time now, int workers);
  void StopCutting(RowJob& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  JobQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::atomic<size_t> waiting_{0};
};

}  // namespace densityd::serving
