// Jobs that wait: fair between models, ops and clients, deadline-first within a client.
//
//   queue -> models, level in compute time
//              -> ops, level in compute time
//                   -> clients, level in rows
//                        -> jobs, the most urgent first
//
// At each stage it is the turn of whoever got the least so far. One that comes back from idleness has no credit for the
// time in which it did not ask, and keeps its debt: so the jobs of one that asks for little go at once, and one that
// asks for more than its share waits for itself only. (Fair queueing; like deficit round-robin, without its quantum.)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
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
  size_t rows = 0;        ///< that wait
  double seconds = 0;     ///< least compute time of them; 0 where not known
};

/// Urgency of a job with `deadline` that comes at `now`.
absl::Time UrgencyOf(absl::Time deadline, absl::Time now);

/// Jobs of one plan and op, by client. Jobs of all clients may share a run. Not thread-safe. Allocates only where there
/// are more clients, or more jobs of one, than before.
class OpJobs {
 public:
  bool empty() const { return turns_.empty(); }

  void Push(uint64_t client, const QueuedJob& job);
  /// The job whose turn it is. Precondition: not empty.
  QueuedJob& Top() { return clients_[turns_.front()].waiting.front(); }
  /// Takes out the first rows of the top job: all of them, with the job, or some of them.
  void Take(size_t rows, double seconds);
  /// Takes out the top job without its client getting anything.
  void Drop();
  /// Takes out a job that is anywhere. False where it is not there. Linear in the jobs that wait.
  bool Remove(const RowJob& job);

  double seconds() const { return seconds_; }
  /// Rows that would be served before the last of `rows` rows that `client` adds with `urgency`, those included.
  double RowsThrough(uint64_t client, absl::Time urgency, size_t rows) const;

  double used = 0;  ///< compute seconds; kept by JobQueue

 private:
  struct Client {
    uint64_t id = 0;
    uint64_t used = 0;               ///< rows
    size_t rows = 0;                 ///< that wait
    std::vector<QueuedJob> waiting;  ///< heap, most urgent first
  };

  /// Order of turns_, a heap: whether `a` comes after `b`.
  bool IsLater(uint32_t a, uint32_t b) const;
  Client& Find(uint64_t id, uint32_t& index);
  void ForgetIdle();
  void PopTop();
  /// The top client's `used` or jobs changed: gives it its new place.
  void Requeue();
  void RebuildTurns();
  void BeginLevelIfEmpty();

  std::vector<Client> clients_;
  std::vector<uint32_t> free_;                         ///< of clients_
  absl::flat_hash_map<uint64_t, uint32_t> by_client_;  ///< to clients_, those without jobs too
  std::vector<uint32_t> turns_;                        ///< clients with jobs; heap
  uint64_t level_ = 0;                                 ///< what a client without debts begins with
  uint64_t most_used_ = 0;
  double seconds_ = 0;
};

/// Jobs of one plan, by op.
struct ModelJobs {
  const engine::Plan* plan = nullptr;
  std::weak_ptr<const engine::Plan> alive;  ///< tells whether `plan` still is what it was
  std::shared_ptr<PlanCost> cost;
  std::array<OpJobs, engine::kOpCount> ops;
  size_t size = 0;
  double used = 0;          ///< compute seconds
  double last_op_used = 0;  ///< `used` of the op whose turn was last
  double seconds = 0;       ///< of all jobs
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

  /// Least compute time until a job of `model` with `urgency` that came now would be done, in seconds: its own, which
  /// is `seconds`, and of what goes before it. Linear in the jobs of its client and op.
  double SecondsThrough(const ModelJobs& model, const RowJob& job, absl::Time urgency, double seconds) const;
  /// Least compute time of all jobs; takes no time.
  double TotalSeconds() const { return seconds_; }

  /// A model and an op that have a job.
  struct Turn {
    ModelJobs* model;
    engine::Op op;
  };
  /// Whose turn it is. Precondition: not empty.
  Turn Next();

  /// The turn's next job; null where it has none left.
  QueuedJob* Top(const Turn& turn);
  /// Takes out the first `rows` rows of the top job: all of them, with the job, or some of them.
  void Take(const Turn& turn, size_t rows);
  /// Takes out the top job, which is not computed.
  void Drop(const Turn& turn);
  /// Takes out a job that need not be at the top. Linear in the queue's length.
  void Remove(const RowJob& job);

  /// A run of `model` and `op` took `seconds`.
  void Charge(ModelJobs& model, engine::Op op, double seconds);

 private:
  void Forget(ModelJobs& model, double seconds);

  CostTable* costs_;
  std::vector<std::unique_ptr<ModelJobs>> models_;
  size_t size_ = 0;
  uint64_t next_sequence_ = 0;
  double seconds_ = 0;    ///< of all jobs
  double last_used_ = 0;  ///< `used` of the model whose turn was last
};

}  // namespace densityd::serving
