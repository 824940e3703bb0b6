#include "server/serving/scheduler.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/base/errors.h"
#include "server/base/retry_info.h"
#include "server/serving/admission.h"
#include "server/serving/job_queue.h"
#include "server/serving/large_jobs.h"
#include "server/serving/priority_turn.h"
#include "server/serving/run_cost.h"

namespace densityd::serving {
namespace {

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

/// Whether jobs that share a run are answered before their deadlines, by what runs cost.
class InTime {
 public:
  InTime(const RunCost& cost, absl::Time now) : cost_(&cost), now_(now) {}

  /// Whether a run of its rows alone is in time.
  absl::Status CheckAlone(const RowJob& job) {
    if (!IsNear(job)) return absl::OkStatus();
    return CheckInTime(job, End(job.span.rows));
  }

  /// Whether a run of `rows` rows of those that joined before, and this one's, is in time for all. Then it joins.
  bool MayJoin(const RowJob& job, size_t rows) {
    const RowJob* soonest = soonest_ == nullptr || job.deadline < soonest_->deadline ? &job : soonest_;
    if (rows > 0 && IsNear(*soonest) && !CheckInTime(*soonest, End(rows + job.span.rows)).ok()) return false;
    soonest_ = soonest;
    return true;
  }

 private:
  absl::Time End(size_t rows) const { return now_ + absl::Seconds(cost_->Seconds(rows, now_)); }
  /// Whether a whole tile might be too long; so that a deadline that is far away costs a comparison.
  bool IsNear(const RowJob& job) {
    if (job.deadline == absl::InfiniteFuture()) return false;
    if (far_ == absl::InfinitePast()) far_ = End(job.plan->info().tile_rows) + kDelivery;
    return job.deadline < far_;
  }

  const RunCost* cost_;
  const absl::Time now_;
  absl::Time far_ = absl::InfinitePast();  ///< a tile that begins now has been answered by then
  const RowJob* soonest_ = nullptr;        ///< of those that joined
};

/// Whether a fused run may have failed for the rows of one request. For want of memory, of a file or of a plan it fails
/// for all alike: to try each of hundreds alone would multiply what went wrong.
bool MayBeOfOneRequest(const absl::Status& failure) {
  switch (failure.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kNotFound:
      return false;
    default:
      return true;
  }
}

}  // namespace

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
  for (const Priority priority : kAllPriorities) {
    large[priority].Abandon(stopped, finished);
    for (const auto& worker : workers) {
      absl::MutexLock lock(&worker->mutex);
      JobQueue& small = worker->small[priority];
      while (!small.empty()) {
        const JobQueue::Turn turn = small.Next();
        finished.push_back({small.Top(turn)->job, stopped});
        small.Drop(turn);
      }
    }
  }
  Finish(finished);
}

absl::Status Scheduler::Impl::Submit(int index, RowJob& job) {
  if (job.span.rows == 0) return InvalidArgument("rows", "has no rows");
  Worker& worker = *workers[index];
  const absl::Time now = clock.Now();
  const size_t tile_rows = job.plan->info().tile_rows;
  const bool is_large = job.span.rows > tile_rows;
  const char* refused_by = nullptr;
  worker.idle.store(false, std::memory_order_relaxed);
  if (!is_large) {
    absl::MutexLock lock(&worker.mutex);
    JobQueue& small = worker.small[job.priority];
    ModelJobs& model = small.Model(job.plan);
    const RunCost& cost = (*model.cost)[static_cast<size_t>(job.op)];
    absl::Status status = CheckSmall(worker, model, job, cost, now);
    if (status.ok()) status = admission.Admit(job, &refused_by);
    if (!status.ok()) return Refused(std::move(status), refused_by);
    small.Push(model, job, now, LeastSeconds(job, cost, now));
    return absl::OkStatus();
  }
  const std::shared_ptr<PlanCost> plan_cost = costs.Of(job.plan);
  const RunCost& cost = (*plan_cost)[static_cast<size_t>(job.op)];
  absl::Status status = CheckLarge(job, cost, now);
  if (status.ok()) status = admission.Admit(job, &refused_by);
  if (!status.ok()) return Refused(std::move(status), refused_by);
  const size_t tiles = (job.span.rows - 1) / tile_rows + 1;
  large[job.priority].Add(job, now,
                          LeastSeconds(job, cost, now));  // from here on another worker may finish and destroy the job
  WakeIdle(index, tiles - 1);
  return absl::OkStatus();
}

absl::Status Scheduler::Impl::Refused(absl::Status status, const char* refused_by) const {
  if (refused_by == nullptr) refused_by = absl::IsCancelled(status) ? "cancelled" : "deadline";
  Rejected(refused_by);
  return status;
}

absl::Status Scheduler::Impl::CheckSmall(const Worker& worker, const ModelJobs& model, const RowJob& job,
                                         const RunCost& cost, absl::Time now) const {
  if (absl::Status reason = GiveUpReason(job, now); !reason.ok()) return reason;
  if (job.deadline == absl::InfiniteFuture()) return absl::OkStatus();
  const double own = cost.Seconds(job.span.rows, now);
  const JobQueue& small = worker.small[job.priority];
  const double interactive = job.priority == Priority::kBatch ? worker.small[Priority::kInteractive].TotalSeconds() : 0;
  // The exact sum goes through the queue: only where it matters.
  if (now + absl::Seconds(own + small.TotalSeconds() + interactive) <= job.deadline) return absl::OkStatus();
  const double least = LeastSeconds(job, cost, now);
  const double before = small.SecondsThrough(model, job, UrgencyOf(job.deadline, now), least) - least;
  return CheckTime(own + before / options.workers + PutOff(interactive), own, job, now);
}

absl::Status Scheduler::Impl::CheckLarge(const RowJob& job, const RunCost& cost, absl::Time now) {
  if (absl::Status reason = GiveUpReason(job, now); !reason.ok()) return reason;
  if (job.deadline == absl::InfiniteFuture()) return absl::OkStatus();
  const size_t tile_rows = job.plan->info().tile_rows;
  const size_t tile_count = (job.span.rows - 1) / tile_rows + 1;
  const auto tiles = static_cast<double>(tile_count);
  const double own = cost.Seconds(LargeJobs::TileRows(job.span.rows, tile_rows), now) * tiles;
  const double least = LeastSeconds(job, cost, now);
  const double before = large[job.priority].SecondsThrough(job, UrgencyOf(job.deadline, now), least) - least;
  const double interactive = job.priority == Priority::kBatch ? large[Priority::kInteractive].TotalSeconds() : 0;
  const double alone = own / std::min<double>(tiles, options.workers);
  return CheckTime(alone + before / options.workers + PutOff(interactive), alone, job, now);
}

double Scheduler::Impl::PutOff(double interactive) const {
  return std::min(interactive / options.workers, absl::ToDoubleSeconds(kBatchPatience));
}

absl::Status Scheduler::Impl::CheckTime(double seconds, double own, const RowJob& job, absl::Time now) {
  const absl::Duration left = job.deadline - now;
  if (absl::Seconds(seconds) <= left) return absl::OkStatus();
  absl::Status status = absl::DeadlineExceededError(
      "the rows cannot be computed before the deadline: they and what waits before them need about " +
      absl::FormatDuration(absl::Seconds(seconds)) + ", and " + absl::FormatDuration(left) + " are left");
  // As much time would do when less waits before them.
  if (absl::Seconds(own) <= left) AttachRetryInfo(absl::Seconds(seconds) - left, status);
  return status;
}

void Scheduler::Impl::WakeIdle(int waker, size_t helpers) {
  for (int i = 0; i < options.workers && helpers > 0; ++i) {
    // RunOne raises the flag before it looks for work for the last time, so either it sees the new work or its flag is
    // seen here.
    if (i == waker || !workers[i]->idle.exchange(false, std::memory_order_seq_cst)) continue;
    --helpers;
    if (wake) wake(i);
  }
}

bool Scheduler::Impl::RunOne(int index) {
  Worker& worker = *workers[index];
  if (worker.idle.load(std::memory_order_relaxed)) worker.idle.store(false, std::memory_order_relaxed);
  while (true) {
    PerPriority<Found> found = Find(worker);
    if (!found[Priority::kInteractive].any() && !found[Priority::kBatch].any()) {
      worker.idle.store(true, std::memory_order_seq_cst);
      found = Find(worker);
      if (!found[Priority::kInteractive].any() && !found[Priority::kBatch].any()) {
        worker.turn.OnIdle();
        return false;
      }
      worker.idle.store(false, std::memory_order_relaxed);
    }
    const absl::Time now = clock.Now();
    const Priority first = worker.turn.First(found[Priority::kInteractive].any(), found[Priority::kBatch].any(), now);
    const Priority second = first == Priority::kBatch ? Priority::kInteractive : Priority::kBatch;
    // Another worker may have taken the last tile, or the last job.
    if (RunOneOf(first, found[first], index, worker, now)) return true;
    if (RunOneOf(second, found[second], index, worker, now)) return true;
  }
}

PerPriority<Found> Scheduler::Impl::Find(Worker& worker) {
  PerPriority<Found> found;
  {
    absl::MutexLock lock(&worker.mutex);
    for (const Priority priority : kAllPriorities) {
      if (!worker.small[priority].empty()) found[priority].small = &worker;
    }
  }
  for (const Priority priority : kAllPriorities) {
    if (found[priority].small == nullptr) found[priority].small = WithJobsLeft(worker, priority);
    found[priority].large = large[priority].waiting() > 0;
  }
  return found;
}

Worker* Scheduler::Impl::WithJobsLeft(const Worker& thief, Priority priority) {
  for (const auto& worker : workers) {
    if (worker.get() != &thief && worker->left[priority].load(std::memory_order_seq_cst) > 0) return worker.get();
  }
  return nullptr;
}

bool Scheduler::Impl::RunOneOf(Priority priority, const Found& found, int index, Worker& worker, absl::Time now) {
  if (IsTurnOfLarge(worker, priority, found.small != nullptr) && RunLarge(priority, index, worker, now)) return true;
  return found.small != nullptr && RunSmall(priority, index, worker, *found.small, now);
}

bool Scheduler::Impl::IsTurnOfLarge(Worker& worker, Priority priority, bool has_small) const {
  const bool has_large = large[priority].waiting() > 0;
  Used& used = worker.used[priority];
  // Who has nothing to compute saves up no credit.
  if (!has_small) used.small = std::max(used.small, used.large);
  if (!has_large) used.large = std::max(used.large, used.small);
  return has_large && (!has_small || used.large < used.small);
}

bool Scheduler::Impl::RunSmall(Priority priority, int index, Worker& worker, Worker& from, absl::Time now) {
  FinishedJobs& finished = worker.finished;
  const Batch batch = Collect(priority, index, worker, from, now, finished);
  if (!worker.batch.empty()) {
    // What is left can be done by those who have nothing to do; they ask for more help if it is still too much.
    if (HasLeft(from)) WakeIdle(index, 1);
    double seconds = 0;
    const absl::Status status = Run(index, worker, *batch.plan, batch.op, *batch.cost, &seconds);
    if (&from == &worker) TakeBackWhatIsLeft(worker);
    const bool retry = worker.batch.size() > 1 && MayBeOfOneRequest(status);
    for (const QueuedJob& queued : worker.batch) {
      finished.push_back({queued.job, retry ? RunAlone(worker, *queued.job) : status});
    }
    if (retry) seconds = std::max(seconds, absl::ToDoubleSeconds(clock.Now() - now));
    worker.used[priority].small += seconds;
    worker.turn.Count(priority, seconds);
    absl::MutexLock lock(&from.mutex);
    // The jobs of the batch keep the plan, and so the model's place in the queue.
    from.small[priority].Charge(*batch.model, batch.op, seconds);
  }
  const bool did_something = !worker.batch.empty() || !finished.empty();
  worker.batch.clear();
  worker.spans.clear();
  Finish(finished);
  return did_something;
}

Batch Scheduler::Impl::Collect(Priority priority, int index, Worker& worker, Worker& from, absl::Time now,
                               FinishedJobs& finished) {
  absl::MutexLock lock(&from.mutex);
  JobQueue& small = from.small[priority];
  Batch batch;
  if (small.empty()) return batch;  // it was taken meanwhile
  const JobQueue::Turn turn = small.Next();
  batch.op = turn.op;
  batch.model = turn.model;
  batch.cost = &(*turn.model->cost)[static_cast<size_t>(turn.op)];
  size_t rows = 0;
  InTime in_time(*batch.cost, now);
  while (const QueuedJob* top = small.Top(turn)) {
    RowJob& job = *top->job;
    absl::Status reason = GiveUpReason(job, now);
    if (reason.ok()) reason = in_time.CheckAlone(job);
    if (!reason.ok()) {
      finished.push_back({&job, std::move(reason)});
      small.Drop(turn);
      continue;
    }
    if (rows > 0 && rows + job.span.rows > job.plan->info().tile_rows) break;
    if (!in_time.MayJoin(job, rows)) break;
    batch.plan = job.plan.get();
    rows += job.span.rows;
    worker.batch.push_back(*top);
    worker.spans.push_back(job.span);
    if (observer != nullptr) observer->OnQueued(index, priority, now - top->queued_at);
    small.Take(turn, job.span.rows);
  }
  if (rows > 0) {
    OfferWhatIsLeft(from);
  } else {
    from.left[priority].store(0, std::memory_order_seq_cst);
  }
  return batch;
}

bool Scheduler::Impl::RunLarge(Priority priority, int index, Worker& worker, absl::Time now) {
  FinishedJobs& finished = worker.finished;
  const std::optional<LargeJobs::Tile> tile = large[priority].Take(now, options.workers, finished);
  if (tile.has_value()) {
    const RowJob& job = *tile->job;
    if (tile->begin == 0 && observer != nullptr) observer->OnQueued(index, priority, now - tile->queued_at);
    worker.spans.push_back(engine::Slice(job.span, tile->begin, tile->rows));
    OfferSmall(index, worker);
    double seconds = 0;
    const absl::Status status =
        Run(index, worker, *job.plan, job.op, (*tile->cost)[static_cast<size_t>(job.op)], &seconds);
    TakeBackWhatIsLeft(worker);
    worker.spans.clear();
    worker.used[priority].large += seconds;
    worker.turn.Count(priority, seconds);
    large[priority].Complete(*tile, status, seconds, finished);
  }
  const bool did_something = tile.has_value() || !finished.empty();
  Finish(finished);
  return did_something;
}

void Scheduler::Impl::OfferSmall(int index, Worker& worker) {
  {
    absl::MutexLock lock(&worker.mutex);
    OfferWhatIsLeft(worker);
  }
  if (HasLeft(worker)) WakeIdle(index, 1);
}

void Scheduler::Impl::OfferWhatIsLeft(Worker& worker) {
  for (const Priority priority : kAllPriorities) {
    worker.left[priority].store(worker.small[priority].size(), std::memory_order_seq_cst);
  }
}

void Scheduler::Impl::TakeBackWhatIsLeft(Worker& worker) {
  for (const Priority priority : kAllPriorities) worker.left[priority].store(0, std::memory_order_relaxed);
}

bool Scheduler::Impl::HasLeft(const Worker& worker) {
  return std::any_of(kAllPriorities.begin(), kAllPriorities.end(),
                     [&](Priority priority) { return worker.left[priority].load(std::memory_order_seq_cst) > 0; });
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
    admission.Release(done.job->span.rows);
    done.job->Done(std::move(done.status));
  }
  finished.clear();
}

Scheduler::Scheduler(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer,
                     std::function<void(int)> wake)
    : impl_(std::make_unique<Impl>(options, clock, observer, std::move(wake))) {}
Scheduler::~Scheduler() = default;
absl::Status Scheduler::CheckRoom(size_t rows) const {
  absl::Status status = impl_->admission.CheckRoom(rows);
  return status.ok() ? status : impl_->Refused(std::move(status), "rows");
}
absl::Status Scheduler::CheckAnyRoom() const {
  absl::Status status = impl_->admission.CheckAnyRoom();
  return status.ok() ? status : impl_->Refused(std::move(status), "rows");
}
absl::Status Scheduler::Hold(size_t bytes, Reservation& held) { return impl_->admission.Hold(bytes, held); }
size_t Scheduler::max_queued_bytes() const { return impl_->options.max_queued_bytes; }
absl::Status Scheduler::Submit(int worker, RowJob& job) { return impl_->Submit(worker, job); }
bool Scheduler::RunOne(int worker) { return impl_->RunOne(worker); }
size_t Scheduler::queued_rows() const { return impl_->admission.rows(); }
size_t Scheduler::queued_bytes() const { return impl_->admission.bytes(); }

}  // namespace densityd::serving
