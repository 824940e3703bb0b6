// A plan that few ask for: made when it is first run.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/plan.h"

namespace densityd::engine {

/// Makes its plan on a thread of its own when that is first needed, and passes runs on to it. A run that comes before
/// waits for at most `patience` after the making began, so that no worker is held up for long; after that it is refused
/// with UNAVAILABLE, which callers repeat, until the plan is there. Where it cannot be made, the runs that wait fail
/// with the reason, and the next run tries again. Thread-safe.
class LazyPlan final : public Plan {
 public:
  using Make = std::function<absl::StatusOr<std::unique_ptr<Plan>>()>;

  /// What a run may wait: most flows are made in less.
  static constexpr absl::Duration kPatience = absl::Milliseconds(250);

  /// `info` is what the plan's will be; its bytes count from now on, so that a plan that is made later finds its room.
  LazyPlan(PlanInfo info, Make make, absl::Duration patience = kPatience);
  /// Waits until a plan that is being made is done.
  ~LazyPlan() override;

  const PlanInfo& info() const override { return info_; }
  /// Empty until the plan is there.
  PlanDescription Describe(Op op) const override;
  absl::Status Run(Op op, absl::Span<const RowSpan> spans, Workspace& workspace) const override;

  /// The plan, which is made where it is not there, however long that takes. Valid as long as this.
  absl::StatusOr<const Plan*> Await() const { return AwaitFor(absl::InfiniteDuration()); }

 private:
  absl::StatusOr<const Plan*> AwaitFor(absl::Duration patience) const;
  void Begin() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MakePlan() const;
  bool IsDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !making_; }

  const PlanInfo info_;
  const Make make_;
  const absl::Duration patience_;

  mutable std::atomic<const Plan*> made_{nullptr};  ///< plan_, for runs
  mutable absl::Mutex mutex_;
  mutable std::unique_ptr<const Plan> plan_ ABSL_GUARDED_BY(mutex_);
  mutable absl::Status error_ ABSL_GUARDED_BY(mutex_);  ///< of the last attempt
  mutable bool making_ ABSL_GUARDED_BY(mutex_) = false;
  mutable absl::Time begun_ ABSL_GUARDED_BY(mutex_);
  mutable std::thread thread_ ABSL_GUARDED_BY(mutex_);  ///< makes the plan, or has
};

}  // namespace densityd::engine
