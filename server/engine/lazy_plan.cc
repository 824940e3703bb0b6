#include "server/engine/lazy_plan.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace densityd::engine {

LazyPlan::LazyPlan(PlanInfo info, Make make, absl::Duration patience)
    : info_(std::move(info)), make_(std::move(make)), patience_(patience) {}

LazyPlan::~LazyPlan() {
  std::thread thread;
  {
    const absl::MutexLock lock(&mutex_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

PlanDescription LazyPlan::Describe(Op op) const {
  const Plan* plan = made_.load(std::memory_order_acquire);
  return plan == nullptr ? PlanDescription() : plan->Describe(op);
}

absl::Status LazyPlan::Run(Op op, absl::Span<const RowSpan> spans, Workspace& workspace) const {
  const Plan* plan = made_.load(std::memory_order_acquire);
  if (plan == nullptr) {
    const absl::StatusOr<const Plan*> awaited = AwaitFor(patience_);
    if (!awaited.ok()) return awaited.status();
    plan = *awaited;
  }
  return plan->Run(op, spans, workspace);
}

absl::StatusOr<const Plan*> LazyPlan::AwaitFor(absl::Duration patience) const {
  const absl::MutexLock lock(&mutex_);
  if (plan_ == nullptr && !making_) Begin();
  mutex_.AwaitWithDeadline(absl::Condition(this, &LazyPlan::IsDone), begun_ + patience);
  if (plan_ != nullptr) return plan_.get();
  if (!making_) return error_;
  return absl::UnavailableError(absl::StrCat("the plan that computes in ",
                                             info_.precision == NumberType::kFloat64 ? "float64" : "float32",
                                             " is being made, as this is the first call that needs it; try again"));
}

void LazyPlan::Begin() const {
  // An attempt that failed has nothing left to do but to end.
  if (thread_.joinable()) thread_.join();
  making_ = true;
  begun_ = absl::Now();
  thread_ = std::thread([this] { MakePlan(); });
}

void LazyPlan::MakePlan() const {
  absl::StatusOr<std::unique_ptr<Plan>> plan = make_();
  const absl::MutexLock lock(&mutex_);
  if (plan.ok()) {
    plan_ = *std::move(plan);
    made_.store(plan_.get(), std::memory_order_release);
  } else {
    error_ = plan.status();
  }
  making_ = false;
}

}  // namespace densityd::engine
