// Jobs that wait: fair in compute time between models, deadline-first within a model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "server/engine/plan.h"
#include "server/serving/row_job.h"
#include "server/serving/run_cost.h"

namespace densityd::serving {

/// A job and what its place in the queue depends on.
struct QueuedJob {
  RowJob* job = nullptr;
  absl::Time queued_at;
  absl::Time urgency;     ///< its deadline, or as if it had one some time after it came: nobody waits for ever
  uint64_t sequence = 0;  ///< order of arrival
  double seconds = 0;     ///< least compute time of the rows that wait; 0 where not measured
};

/// Urgency of a job with `deadline` that comes at `now`.
absl::Time UrgencyOf(absl::Time deadline, absl::Time now);

/// Jobs of one plan, by op. A heap each, most urgent first.
struct ModelJobs {
  const engine::Plan* plan = nullptr;
  std::weak_ptr<const engine::Plan> alive;  ///< tells whether `plan` still is what it was
  std::shared_ptr<PlanCost> cost;
  std::array<std::vector<QueuedJob>, engine::kOpCount> waiting;
  size_t size = 0;
  double used = 0;  ///< compute seconds, see JobQueue::Next
};

/// Not thread-safe. Allocates only where it grows.
class JobQueue {
 public:
  explicit JobQueue(CostTable& costs) : costs_(&costs) {}

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  /// The plan's jobs. Valid while the plan lives.
  ModelJobs& Model(const std::shared_ptr<const engine::Plan>& plan);

  /// Adds a job of `model`.
  void Push(ModelJobs& model, RowJob& job, absl::Time now, double seconds);

  /// Least compute time of the jobs that are as urgent as `urgency` or more, in seconds.
  double SecondsBefore(absl::Time urgency) const;
  /// The same of all jobs; takes no time.
  double TotalSeconds() const { return seconds_; }

  /// A model and an op that have a job.
  struct Turn {
    ModelJobs* model;
    engine::Op op;
  };
  /// Whose turn it is: the model that used the least compute time, and its op with the most urgent job. A model that
  /// comes back from idleness starts level with the others: it saves up no credit. Precondition: not empty.
  Turn Next();

  /// The turn's most urgent job; null where it has none left.
  QueuedJob* Top(const Turn& turn);
  void Pop(const Turn& turn);
  /// `seconds` less of the top job remain to be computed.
  void Shorten(const Turn& turn, double seconds);
  /// Takes out a job that is not at the top. Linear in the queue's length.
  void Remove(const RowJob& job);

  /// A run of `model` took `seconds`.
  void Charge(ModelJobs& model, double seconds) { model.used += seconds; }

 private:
  void Forget(ModelJobs& model, const QueuedJob& job);

  CostTable* costs_;
  std::vector<std::unique_ptr<ModelJobs>> models_;
  size_t size_ = 0;
  uint64_t next_sequence_ = 0;
  double seconds_ = 0;    ///< of all jobs
  double last_used_ = 0;  ///< `used` of the model whose turn was last
};

}  // namespace densityd::serving
