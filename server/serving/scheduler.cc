#include "server/serving/scheduler.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "server/base/errors.h"
#include "server/base/retry_info.h"
#include "server/serving/scheduler_impl.h"

namespace densityd::serving {

Scheduler::Impl::Impl(SchedulerOptions options, const Clock& clock, SchedulerObserver* observer,
                      std::function<void(int)> wake)
    : options(options),
      clock(clock),
      observer(observer),
      wake(std::move(wake)),
      large(costs),
      admission(options.max_queued_rows, options.max_queued_bytes, options.workers, options.memory) {
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
