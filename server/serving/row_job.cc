#include "server/serving/row_job.h"

namespace densityd::serving {

absl::Status GiveUpReason(const RowJob& job, absl::Time now) {
  if (job.cancelled.load(std::memory_order_relaxed)) {
    return absl::CancelledError("the call was cancelled before all of its rows were computed");
  }
  if (job.deadline <= now) {
    return absl::DeadlineExceededError("the deadline passed before all rows were computed");
  }
  return absl::OkStatus();
}

absl::Status CheckInTime(const RowJob& job, absl::Time computed) {
  if (computed + kDelivery <= job.deadline) return absl::OkStatus();
  return absl::DeadlineExceededError("the rows could not have been computed and sent before the deadline");
}

}  // namespace densityd::serving
