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

}  // namespace densityd::serving
