#include "server/serving/run_cost.h"

#include <algorithm>
#include <bit>

namespace densityd::serving {
namespace {

constexpr float kWeightOfNewest = 0.2f;
constexpr absl::Duration kMaxAge = absl::Seconds(10);
/// A plan is measured while other work may run, and not in the conditions of a busy server.
constexpr double kTrustInPrior = 0.5;

}  // namespace

bool RunCost::SizeClass::IsFresh(absl::Time now) const {
  const int64_t measured = nanoseconds.load(std::memory_order_relaxed);
  return measured != 0 && now - absl::FromUnixNanos(measured) <= kMaxAge;
}

void RunCost::Record(size_t rows, double seconds, absl::Time now) {
  if (rows == 0 || !warm_.exchange(true, std::memory_order_relaxed)) return;
  SizeClass& size_class = classes_[std::min<size_t>(std::bit_width(rows) - 1, classes_.size() - 1)];
  const float new_rows = static_cast<float>(rows);
  const float new_seconds = static_cast<float>(seconds);
  if (size_class.IsFresh(now)) {
    const float old_rows = size_class.rows.load(std::memory_order_relaxed);
    const float old_seconds = size_class.seconds.load(std::memory_order_relaxed);
    const float bounded = std::min(new_seconds, 2 * old_seconds);
    size_class.rows.store(old_rows + kWeightOfNewest * (new_rows - old_rows), std::memory_order_relaxed);
    size_class.seconds.store(old_seconds + kWeightOfNewest * (bounded - old_seconds), std::memory_order_relaxed);
  } else {
    size_class.rows.store(new_rows, std::memory_order_relaxed);
    size_class.seconds.store(new_seconds, std::memory_order_relaxed);
  }
  size_class.nanoseconds.store(std::max<int64_t>(absl::ToUnixNanos(now), 1), std::memory_order_relaxed);
}

double RunCost::Seconds(size_t rows, absl::Time now) const {
  double bound = 0;
  bool found = false;
  for (const SizeClass& size_class : classes_) {
    if (!size_class.IsFresh(now)) continue;
    const double measured_rows = size_class.rows.load(std::memory_order_relaxed);
    const double seconds = size_class.seconds.load(std::memory_order_relaxed);
    bound = std::max(bound, seconds * std::min(1.0, static_cast<double>(rows) / measured_rows));
    found = true;
  }
  return found ? bound : kTrustInPrior * prior_.Seconds(rows);
}

double RunCost::SecondsPerRow(absl::Time now) const {
  double best = 0;
  bool found = false;
  for (const SizeClass& size_class : classes_) {
    if (!size_class.IsFresh(now)) continue;
    const double per_row =
        size_class.seconds.load(std::memory_order_relaxed) / size_class.rows.load(std::memory_order_relaxed);
    best = found ? std::min(best, per_row) : per_row;
    found = true;
  }
  return found ? best : kTrustInPrior * prior_.SecondsPerRow();
}

std::shared_ptr<PlanCost> CostTable::Of(const std::shared_ptr<const engine::Plan>& plan) {
  absl::MutexLock lock(&mutex_);
  entries_.erase(
      std::remove_if(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.plan.expired(); }),
      entries_.end());
  for (const Entry& entry : entries_) {
    // Neither of two plans that live at the same time is at the other's address.
    if (entry.plan.lock() == plan) return entry.cost;
  }
  auto cost = std::make_shared<PlanCost>();
  for (int op = 0; op < engine::kOpCount; ++op) (*cost)[op].set_prior(plan->run_time(static_cast<engine::Op>(op)));
  entries_.push_back({plan, std::move(cost)});
  return entries_.back().cost;
}

}  // namespace densityd::serving
