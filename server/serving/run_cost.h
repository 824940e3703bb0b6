// What runs of a plan cost, as measured: the base of early refusals and retry hints.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/plan.h"

namespace densityd::serving {

/// Time of the runs of one plan and op, by size: class k holds runs of 2^k … 2^(k+1) - 1 rows. Estimates are low on
/// purpose, since requests are refused by them: half of what the plan was found to need when it was made (0 where that
/// is unknown) until runs are measured, the first run of all is left out (it pays for page faults and lazy
/// initialisation), a single slow run counts at most twice the usual, and a class that was not measured for 10 s no
/// longer counts, so that one bad measurement cannot shut requests out. Thread-safe and lock-free; concurrent
/// measurements may lose one another.
class RunCost {
 public:
  /// What was known beforehand. Before the cost is shared.
  void set_prior(engine::RunTime prior) { prior_ = std::move(prior); }

  void Record(size_t rows, double seconds, absl::Time now);

  /// Lower estimate of the seconds of one run of `rows` rows. Larger runs never cost less, and never more per row:
  /// each measured class bounds the others.
  double Seconds(size_t rows, absl::Time now) const;
  /// Seconds per row of the most efficient size that was measured.
  double SecondsPerRow(absl::Time now) const;

 private:
  struct SizeClass {
    std::atomic<float> rows{0};           ///< moving mean
    std::atomic<float> seconds{0};        ///< moving mean
    std::atomic<int64_t> nanoseconds{0};  ///< time of the last measurement since the epoch; 0: none
    bool IsFresh(absl::Time now) const;
  };

  engine::RunTime prior_;
  std::atomic<bool> warm_{false};
  std::array<SizeClass, 24> classes_;
};

/// The costs of one plan, by op.
using PlanCost = std::array<RunCost, engine::kOpCount>;

/// The costs of all plans in use. Thread-safe.
class CostTable {
 public:
  /// The plan's costs, shared by all who ask while the plan lives.
  std::shared_ptr<PlanCost> Of(const std::shared_ptr<const engine::Plan>& plan);

 private:
  struct Entry {
    std::weak_ptr<const engine::Plan> plan;
    std::shared_ptr<PlanCost> cost;
  };
  absl::Mutex mutex_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::serving
