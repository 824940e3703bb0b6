#include "server/serving/scheduler.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "server/base/errors.h"
#include "server/serving/admission.h"
#include "server/serving/job_queue.h"
#include "server/serving/large_jobs.h"
#include "server/serving/run_cost.h"

namespace densityd::serving {
namespace {

/// What belongs to one worker alone; only `idle` is looked at by others. On its own cache lines.
struct alignas(64) Worker {
  explicit Worker(CostTable& costs) : small(costs) {}

  JobQueue small;
  engine::Workspace workspace;
  double small_used = 0;  ///< compute seconds of small jobs, and of tiles of large ones: they are kept level
  double large_used = 0;
  std::vector<QueuedJob> batch;  ///< scratch, kept for its memory
  std::vector<engine::RowSpan> spans;
  std::atomic<bool> idle{true};  ///< its thread found nothing to do, and may sleep until it is woken
};

}  // namespace

struct Scheduler::Impl {
  Impl(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer, std::function<void(int)> wake);
  ~Impl();

  absl::Status Submit(int worker, RowJob& job);
  bool RunOne(int worker);

  absl::Status CheckDeadline(const Worker& worker, const RowJob& job, const RunCost& cost, absl::Time now) const;
  bool IsTurnOfLarge(Worker& worker) const;
  void RunSmall(int index, Worker& worker, absl::Time now);
  bool RunLarge(int index, Worker& worker, absl::Time now);
  void Collect(int index, Worker& worker, const JobQueue::Turn& turn, absl::Time now, FinishedJobs& finished);
  absl::Status Run(int index, Worker& worker, const engine::Plan& plan, engine::Op op, RunCost& cost, double* seconds);
  absl::Status RunAlone(Worker& worker, const RowJob& job);
  void Finish(FinishedJobs& finished);
  void WakeIdle(int submitter, size_t tiles);

  void Rejected(const char* reason) const {
    if (observer != nullptr) observer->OnRejected(reason);
  }

  const SchedulerOptions options;
  const Clock& clock;
  SchedulerObserver* const observer;
  const std::function<void(int)> wake;
  CostTable costs;
  LargeJobs large;
  Admission admission;
  std::vector<std::unique_ptr<Worker>> workers;
};

Scheduler::Impl::Impl(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer,
                      std::function<void(int)> wake)
    : options(options),
      clock(clock),
      observer(observer),
      wake(std::move(wake)),
      large(costs),
      admission(options.max_queued_rows, options.max_queued_bytes, options.workers) {
  for (int i = 0; i < options.workers; ++i) workers.push_back(std::make_unique<Worker>(costs));
}

Scheduler::Impl::~Impl() {
  const absl::Status stopped = absl::UnavailableError("the server stopped before the rows were computed");
  FinishedJobs finished;
  large.Abandon(stopped, finished);
  for (const auto& worker : workers) {
    while (!worker->small.empty()) {
      const JobQueue::Turn turn = worker->small.Next();
      finished.push_back({worker->small.Top(turn)->job, stopped});
      worker->small.Pop(turn);
    }
  }
  Finish(finished);
}

absl::Status Scheduler::Impl::Submit(int index, RowJob& job) {
  if (job.span.rows == 0) return InvalidArgument("rows", "has no rows");
  Worker& worker = *workers[index];
  const absl::Time now = clock.Now();
  ModelJobs* model = nullptr;
  const size_t tile_rows = job.plan->info().tile_rows;
  const bool is_large = job.span.rows > tile_rows;
  std::shared_ptr<PlanCost> cost;
  if (is_large) {
    cost = costs.Of(job.plan);
  } else {
    model = &worker.small.Model(job.plan);
  }
  const RunCost& run_cost = (is_large ? *cost : *model->cost)[static_cast<size_t>(job.op)];
  if (absl::Status status = CheckDeadline(worker, job, run_cost, now); !status.ok()) {
    Rejected(absl::IsCancelled(status) ? "cancelled" : "deadline");
    return status;
  }
  const char* refused_by;
  if (absl::Status status = admission.Admit(job, &refused_by); !status.ok()) {
    Rejected(refused_by);
    return status;
  }
  const double seconds = static_cast<double>(job.span.rows) * run_cost.SecondsPerRow(now);
  worker.idle.store(false, std::memory_order_relaxed);
  if (!is_large) {
    worker.small.Push(*model, job, now, seconds);
    return absl::OkStatus();
  }
  const size_t tiles = (job.span.rows - 1) / tile_rows + 1;
  large.Add(job, now, seconds);  // from here on another worker may finish and destroy the job
  WakeIdle(index, tiles);
  return absl::OkStatus();
}

absl::Status Scheduler::Impl::CheckDeadline(const Worker& worker, const RowJob& job, const RunCost& cost,
                                            absl::Time now) const {
  if (absl::Status reason = GiveUpReason(job, now); !reason.ok()) return reason;
  if (job.deadline == absl::InfiniteFuture()) return absl::OkStatus();
  const size_t tile_rows = job.plan->info().tile_rows;
  const absl::Time urgency = UrgencyOf(job.deadline, now);
  double seconds;
  if (job.span.rows > tile_rows) {
    const size_t tile_count = (job.span.rows - 1) / tile_rows + 1;
    const auto tiles = static_cast<double>(tile_count);
    const double tile = cost.Seconds(LargeJobs::TileRows(job.span.rows, tile_rows), now);
    seconds = tile * tiles / std::min<double>(tiles, options.workers) + large.SecondsBefore(urgency) / options.workers;
  } else {
    seconds = cost.Seconds(job.span.rows, now);
    // The exact sum goes through the queue: only where it matters.
    if (now + absl::Seconds(seconds + worker.small.TotalSeconds()) <= job.deadline) return absl::OkStatus();
    seconds += worker.small.SecondsBefore(urgency);
  }
  if (now + absl::Seconds(seconds) <= job.deadline) return absl::OkStatus();
  return absl::DeadlineExceededError(
      "the rows cannot be computed before the deadline: they and what waits before them need about " +
      absl::FormatDuration(absl::Seconds(seconds)) + ", and " + absl::FormatDuration(job.deadline - now) + " are left");
}

void Scheduler::Impl::WakeIdle(int submitter, size_t tiles) {
  size_t helpers = tiles - 1;
  for (int i = 0; i < options.workers && helpers > 0; ++i) {
    // RunOne raises the flag before it looks at the large jobs for the last time, so either it sees the new one or its
    // flag is seen here.
    if (i == submitter || !workers[i]->idle.exchange(false, std::memory_order_seq_cst)) continue;
    --helpers;
    if (wake) wake(i);
  }
}

bool Scheduler::Impl::RunOne(int index) {
  Worker& worker = *workers[index];
  if (worker.idle.load(std::memory_order_relaxed)) worker.idle.store(false, std::memory_order_relaxed);
  while (true) {
    if (worker.small.empty() && large.waiting() == 0) {
      worker.idle.store(true, std::memory_order_seq_cst);
      if (large.waiting() == 0) return false;
      worker.idle.store(false, std::memory_order_relaxed);
    }
    const absl::Time now = clock.Now();
    if (IsTurnOfLarge(worker) && RunLarge(index, worker, now)) return true;
    if (worker.small.empty()) continue;  // another worker took the last tile
    RunSmall(index, worker, now);
    return true;
  }
}

bool Scheduler::Impl::IsTurnOfLarge(Worker& worker) const {
  const bool has_large = large.waiting() > 0;
  // Who has nothing to compute saves up no credit.
  if (worker.small.empty()) worker.small_used = std::max(worker.small_used, worker.large_used);
  if (!has_large) worker.large_used = std::max(worker.large_used, worker.small_used);
  return has_large && (worker.small.empty() || worker.large_used < worker.small_used);
}

void Scheduler::Impl::RunSmall(int index, Worker& worker, absl::Time now) {
  const JobQueue::Turn turn = worker.small.Next();
  FinishedJobs finished;
  Collect(index, worker, turn, now, finished);
  if (!worker.batch.empty()) {
    const engine::Plan& plan = *worker.batch.front().job->plan;
    RunCost& cost = (*turn.model->cost)[static_cast<size_t>(turn.op)];
    double seconds = 0;
    const absl::Status status = Run(index, worker, plan, turn.op, cost, &seconds);
    const bool retry = !status.ok() && worker.batch.size() > 1;
    finished.reserve(finished.size() + worker.batch.size());
    for (const QueuedJob& queued : worker.batch) {
      finished.push_back({queued.job, retry ? RunAlone(worker, *queued.job) : status});
    }
    if (retry) seconds = std::max(seconds, absl::ToDoubleSeconds(clock.Now() - now));
    worker.small.Charge(*turn.model, seconds);
    worker.small_used += seconds;
    worker.batch.clear();
    worker.spans.clear();
  }
  Finish(finished);
}

void Scheduler::Impl::Collect(int index, Worker& worker, const JobQueue::Turn& turn, absl::Time now,
                              FinishedJobs& finished) {
  size_t rows = 0;
  while (const QueuedJob* top = worker.small.Top(turn)) {
    RowJob& job = *top->job;
    if (absl::Status reason = GiveUpReason(job, now); !reason.ok()) {
      finished.push_back({&job, std::move(reason)});
    } else {
      if (rows > 0 && rows + job.span.rows > job.plan->info().tile_rows) return;
      rows += job.span.rows;
      worker.batch.push_back(*top);
      worker.spans.push_back(job.span);
      if (observer != nullptr) observer->OnQueued(index, now - top->queued_at);
    }
    worker.small.Pop(turn);
  }
}

bool Scheduler::Impl::RunLarge(int index, Worker& worker, absl::Time now) {
  FinishedJobs finished;
  const std::optional<LargeJobs::Tile> tile = large.Take(now, finished);
  if (tile.has_value()) {
    const RowJob& job = *tile->job;
    if (tile->begin == 0 && observer != nullptr) observer->OnQueued(index, now - tile->queued_at);
    worker.spans.push_back(engine::Slice(job.span, tile->begin, tile->rows));
    double seconds = 0;
    const absl::Status status =
        Run(index, worker, *job.plan, job.op, (*tile->cost)[static_cast<size_t>(job.op)], &seconds);
    worker.spans.clear();
    worker.large_used += seconds;
    large.Complete(*tile, status, seconds, finished);
  }
  const bool did_something = tile.has_value() || !finished.empty();
  Finish(finished);
  return did_something;
}

absl::Status Scheduler::Impl::Run(int index, Worker& worker, const engine::Plan& plan, engine::Op op, RunCost& cost,
                                  double* seconds) {
  const absl::Time begin = clock.Now();
  absl::Status status = plan.Run(op, worker.spans, worker.workspace);
  const absl::Time end = clock.Now();
  // The system's clock may have been set back meanwhile.
  const absl::Duration compute = std::max(end - begin, absl::ZeroDuration());
  *seconds = absl::ToDoubleSeconds(compute);
  size_t rows = 0;
  for (const engine::RowSpan& span : worker.spans) rows += span.rows;
  if (status.ok()) {
    cost.Record(rows, *seconds, end);
    admission.RecordRun(rows, *seconds);
  }
  if (observer != nullptr) observer->OnTile(index, op, rows, worker.spans.size(), compute);
  return status;
}

absl::Status Scheduler::Impl::RunAlone(Worker& worker, const RowJob& job) {
  if (absl::Status reason = GiveUpReason(job, clock.Now()); !reason.ok()) return reason;
  return job.plan->Run(job.op, absl::MakeConstSpan(&job.span, 1), worker.workspace);
}

void Scheduler::Impl::Finish(FinishedJobs& finished) {
  for (FinishedJob& done : finished) {
    if (absl::IsCancelled(done.status)) Rejected("cancelled");
    if (absl::IsDeadlineExceeded(done.status)) Rejected("deadline");
    admission.Release(done.job->span.rows, done.job->bytes);
    done.job->Done(std::move(done.status));
  }
}

Scheduler::Scheduler(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer,
                     std::function<void(int)> wake)
    : impl_(std::make_unique<Impl>(options, clock, observer, std::move(wake))) {}
Scheduler::~Scheduler() = default;
absl::Status Scheduler::Submit(int worker, RowJob& job) { return impl_->Submit(worker, job); }
bool Scheduler::RunOne(int worker) { return impl_->RunOne(worker); }
size_t Scheduler::queued_rows() const { return impl_->admission.rows(); }
size_t Scheduler::queued_bytes() const { return impl_->admission.bytes(); }

}  // namespace densityd::serving
