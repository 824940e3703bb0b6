// The workers' side of the scheduler: which jobs share the next run, and what a run's end means for each.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/serving/in_time.h"
#include "server/serving/scheduler_impl.h"

namespace densityd::serving {
namespace {

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
    // Rows that are computed do not wait: who comes need not wait for the whole of a large request.
    admission.Release(tile->rows);
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
    admission.Release(LargeJobs::CountOut(*done.job));
    done.job->Done(std::move(done.status));
  }
  finished.clear();
}

}  // namespace densityd::serving
