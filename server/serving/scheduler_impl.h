// What a Scheduler is made of. scheduler.cc lets jobs in, scheduler_run.cc runs them.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/engine/plan.h"
#include "server/serving/admission.h"
#include "server/serving/job_queue.h"
#include "server/serving/large_jobs.h"
#include "server/serving/priority.h"
#include "server/serving/priority_turn.h"
#include "server/serving/row_job.h"
#include "server/serving/run_cost.h"
#include "server/serving/scheduler.h"

namespace densityd::serving {

/// Compute seconds of small jobs, and of tiles of large ones: they are kept level.
struct Used {
  double small = 0;
  double large = 0;
};

/// On its own cache lines.
struct alignas(64) Worker {
  explicit Worker(CostTable& costs) : small(costs) {}

  absl::Mutex mutex;  ///< held for a few dozen instructions at a time, and mostly by its worker alone
  PerPriority<JobQueue> small ABSL_GUARDED_BY(mutex);
  /// Jobs of `small` that their worker leaves waiting while it computes: others may take them. What it has not begun to
  /// choose from yet they leave alone, since a run of many rows costs less than many runs.
  PerPriority<std::atomic<size_t>> left;
  std::atomic<bool> idle{true};  ///< its thread found nothing to do, and may sleep until it is woken

  // Of the worker's thread alone.
  engine::Workspace workspace;
  PerPriority<Used> used;
  PriorityTurn turn;
  std::vector<QueuedJob> batch;  ///< scratch, kept for its memory
  std::vector<engine::RowSpan> spans;
  FinishedJobs finished;
};

/// Where a worker finds jobs of one priority.
struct Found {
  Worker* small = nullptr;  ///< whose jobs: its own, or left by another; null: none
  bool large = false;
  bool any() const { return small != nullptr || large; }
};

/// Small jobs of one plan and op that share a run.
struct Batch {
  const engine::Plan* plan = nullptr;
  engine::Op op = engine::Op::kLogProb;
  RunCost* cost = nullptr;
  ModelJobs* model = nullptr;  ///< in the queue that the jobs came from
};

struct Scheduler::Impl {
  Impl(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer, std::function<void(int)> wake);
  ~Impl();

  absl::Status Submit(int worker, RowJob& job);
  bool RunOne(int worker);

  absl::Status CheckSmall(const Worker& worker, const ModelJobs& model, const RowJob& job, const RunCost& cost,
                          absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(worker.mutex);
  absl::Status CheckLarge(const RowJob& job, const RunCost& cost, absl::Time now);
  /// Least seconds for which `interactive` seconds of jobs that wait put off a batch job.
  double PutOff(double interactive) const;
  static absl::Status CheckTime(double seconds, double own, const RowJob& job, absl::Time now);
  absl::Status Refused(absl::Status status, const char* refused_by) const;
  /// Of the rows of `job`, in runs of the best size.
  static double LeastSeconds(const RowJob& job, const RunCost& cost, absl::Time now) {
    return static_cast<double>(job.span.rows) * cost.SecondsPerRow(now);
  }
  PerPriority<Found> Find(Worker& worker);
  Worker* WithJobsLeft(const Worker& thief, Priority priority);
  bool RunOneOf(Priority priority, const Found& found, int index, Worker& worker, absl::Time now);
  bool IsTurnOfLarge(Worker& worker, Priority priority, bool has_small) const;
  bool RunSmall(Priority priority, int index, Worker& worker, Worker& from, absl::Time now);
  bool RunLarge(Priority priority, int index, Worker& worker, absl::Time now);
  /// While `worker` computes a tile of a large job, others may take its small ones.
  void OfferSmall(int index, Worker& worker);
  static void OfferWhatIsLeft(Worker& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(worker.mutex);
  static void TakeBackWhatIsLeft(Worker& worker);
  static bool HasLeft(const Worker& worker);
  Batch Collect(Priority priority, int index, Worker& worker, Worker& from, absl::Time now, FinishedJobs& finished);
  absl::Status Run(int index, Worker& worker, const engine::Plan& plan, engine::Op op, RunCost& cost, double* seconds);
  absl::Status RunAlone(Worker& worker, const RowJob& job);
  void Finish(FinishedJobs& finished);
  void WakeIdle(int waker, size_t helpers);

  void Rejected(const char* reason) const {
    if (observer != nullptr) observer->OnRejected(reason);
  }

  const SchedulerOptions options;
  const Clock& clock;
  SchedulerObserver* const observer;
  const std::function<void(int)> wake;
  CostTable costs;
  PerPriority<LargeJobs> large;
  Admission admission;
  std::vector<std::unique_ptr<Worker>> workers;
};

}  // namespace densityd::serving
