// Bounds on what waits, and when to try again.
#pragma once

#include <atomic>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/memory_budget.h"
#include "server/serving/row_job.h"

namespace densityd::serving {

/// Counts the rows that wait or are computed, and the bytes of those and of answers on their way, against their limits.
/// Thread-safe and lock-free.
class Admission {
 public:
  /// The bytes are a part of `whole`, where there is one.
  Admission(size_t max_rows, size_t max_bytes, int workers, MemoryBudget* whole = nullptr)
      : max_rows_(max_rows), memory_(max_bytes, whole), workers_(workers) {}

  /// RESOURCE_EXHAUSTED where Admit would now refuse so many rows, before anything is made ready for them.
  absl::Status CheckRoom(size_t rows) const;
  /// RESOURCE_EXHAUSTED where it would refuse a single row. The RetryInfo is for a request like those lately.
  absl::Status CheckAnyRoom() const;
  /// Counts the job's rows in, and reserves its memory (what it holds already counts); or neither: RESOURCE_EXHAUSTED,
  /// with `refused_by` set to "rows" or "bytes". A job that could be admitted later carries a RetryInfo: the time in
  /// which enough rows leave, at the measured throughput.
  absl::Status Admit(RowJob& job, const char** refused_by);
  /// Makes `held` a reservation of `bytes` bytes, which may become a job's. RESOURCE_EXHAUSTED, as from Admit, where it
  /// does not fit: it stays as it was then.
  absl::Status Hold(size_t bytes, Reservation& held);
  /// The rows of an admitted job were computed or given up.
  void Release(size_t rows);

  /// A run of `rows` rows took `seconds`.
  void RecordRun(size_t rows, double seconds);

  size_t rows() const { return rows_.load(std::memory_order_relaxed); }
  size_t bytes() const { return memory_.used(); }

 private:
  absl::Status TooManyRows(size_t rows, size_t waiting) const;
  absl::Status TooManyBytes(size_t bytes) const;
  absl::Duration TimeForRowsToLeave(double rows) const;

  const size_t max_rows_;
  MemoryBudget memory_;
  const int workers_;
  std::atomic<size_t> rows_{0};
  std::atomic<double> usual_rows_{1};       ///< moving mean over the jobs that were admitted
  std::atomic<double> seconds_per_row_{0};  ///< moving mean over the runs of all plans; 0: not measured
};

}  // namespace densityd::serving
