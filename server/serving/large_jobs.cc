#include "server/serving/large_jobs.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace densityd::serving {
namespace {

constexpr size_t kVectorRows = 16;

}  // namespace

size_t LargeJobs::TileRows(size_t rows, size_t max_tile_rows) {
  const size_t tiles = (rows - 1) / max_tile_rows + 1;
  const size_t equal = (rows - 1) / tiles + 1;
  return std::min(max_tile_rows, (equal + kVectorRows - 1) / kVectorRows * kVectorRows);
}

void LargeJobs::Add(RowJob& job, absl::Time now, double seconds) {
  absl::MutexLock lock(&mutex_);
  job.progress_ = {};
  job.progress_.tile_rows = TileRows(job.span.rows, job.plan->info().tile_rows);
  job.progress_.queued = true;
  queue_.Push(queue_.Model(job.plan), job, now, seconds);
  waiting_.store(queue_.size(), std::memory_order_seq_cst);
}

double LargeJobs::SecondsThrough(const RowJob& job, absl::Time urgency, double seconds) {
  if (waiting_.load(std::memory_order_relaxed) == 0) return seconds;
  absl::MutexLock lock(&mutex_);
  return queue_.SecondsThrough(queue_.Model(job.plan), job, urgency, seconds);
}

double LargeJobs::TotalSeconds() {
  if (waiting_.load(std::memory_order_relaxed) == 0) return 0;
  absl::MutexLock lock(&mutex_);
  return queue_.TotalSeconds();
}

std::optional<LargeJobs::Tile> LargeJobs::Take(absl::Time now, int workers, FinishedJobs& finished) {
  absl::MutexLock lock(&mutex_);
  while (!queue_.empty()) {
    const JobQueue::Turn turn = queue_.Next();
    const QueuedJob top = *queue_.Top(turn);
    RowJob& job = *top.job;
    RowJob::Progress& progress = job.progress_;
    if (absl::Status reason = GiveUp(job, *turn.model->cost, now, workers); !reason.ok()) {
      queue_.Drop(turn);
      StopCutting(job);
      progress.error = std::move(reason);
      if (progress.running == 0) finished.push_back({&job, progress.error});
      continue;
    }
    const size_t remaining = job.span.rows - progress.next_row;
    const size_t rows = std::min(progress.tile_rows, remaining);
    Tile tile{&job, progress.next_row, rows, top.queued_at, turn.model->cost};
    progress.next_row += rows;
    ++progress.running;
    queue_.Take(turn, rows);
    if (rows == remaining) StopCutting(job);
    return tile;
  }
  return std::nullopt;
}

absl::Status LargeJobs::GiveUp(const RowJob& job, const PlanCost& cost, absl::Time now, int workers) {
  absl::Status reason = GiveUpReason(job, now);
  if (!reason.ok() || job.deadline == absl::InfiniteFuture()) return reason;
  const RowJob::Progress& progress = job.progress_;
  const size_t tiles = (job.span.rows - progress.next_row - 1) / progress.tile_rows + 1;
  const size_t rounds = (tiles - 1) / static_cast<size_t>(workers) + 1;
  const double seconds =
      cost[static_cast<size_t>(job.op)].Seconds(progress.tile_rows, now) * static_cast<double>(rounds);
  return CheckInTime(job, now + absl::Seconds(seconds));
}

void LargeJobs::Complete(const Tile& tile, const absl::Status& status, double seconds, FinishedJobs& finished) {
  absl::MutexLock lock(&mutex_);
  RowJob& job = *tile.job;
  RowJob::Progress& progress = job.progress_;
  queue_.Charge(queue_.Model(job.plan), job.op, seconds);
  --progress.running;
  progress.left += tile.rows;
  if (!status.ok()) {
    if (progress.error.ok()) progress.error = status;
    if (progress.queued) {
      queue_.Remove(job);
      StopCutting(job);
    }
  }
  if (progress.running == 0 && !progress.queued) finished.push_back({&job, progress.error});
}

void LargeJobs::Abandon(const absl::Status& status, FinishedJobs& finished) {
  absl::MutexLock lock(&mutex_);
  while (!queue_.empty()) {
    const JobQueue::Turn turn = queue_.Next();
    finished.push_back({queue_.Top(turn)->job, status});
    queue_.Drop(turn);
  }
  waiting_.store(0, std::memory_order_seq_cst);
}

void LargeJobs::StopCutting(RowJob& job) {
  job.progress_.queued = false;
  waiting_.store(queue_.size(), std::memory_order_seq_cst);
}

}  // namespace densityd::serving
