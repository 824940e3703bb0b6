// Whether the jobs that share a run are answered before their deadlines.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/serving/row_job.h"
#include "server/serving/run_cost.h"

namespace densityd::serving {

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

}  // namespace densityd::serving
