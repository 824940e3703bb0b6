#include "server/serving/priority_turn.h"

#include <algorithm>

namespace densityd::serving {

Priority PriorityTurn::First(bool interactive, bool batch, absl::Time now) {
  if (!batch) {
    OnIdle();
    return Priority::kInteractive;
  }
  if (!interactive) return Priority::kBatch;
  // They begin to wait, or the system's clock was set back.
  if (now < put_off_since_) {
    put_off_since_ = now;
    owed_ = 0;
  }
  const bool for_too_long = now - put_off_since_ >= kBatchPatience;
  return for_too_long && owed_ > 0 ? Priority::kBatch : Priority::kInteractive;
}

void PriorityTurn::Count(Priority priority, double seconds) {
  if (priority == Priority::kInteractive) {
    // What was not due yet is not made up for: no more is owed than for one run.
    owed_ = std::min(owed_, 0.0) + seconds * kBatchShare / (1 - kBatchShare);
  } else {
    // Nor is what they got while nobody else asked held against them.
    owed_ = std::max(owed_, 0.0) - seconds;
  }
}

}  // namespace densityd::serving
