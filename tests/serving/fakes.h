// A clock, plans and jobs that a test holds in its hands.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/base/clock.h"
#include "server/engine/plan.h"
#include "server/serving/row_job.h"
#include "server/serving/scheduler.h"

namespace densityd::serving {

/// Time that passes only when it is told to. Thread-safe.
class FakeClock : public Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixNanos(nanoseconds_.load()); }
  void Advance(absl::Duration duration) const { nanoseconds_.fetch_add(absl::ToInt64Nanoseconds(duration)); }

 private:
  mutable std::atomic<int64_t> nanoseconds_{int64_t{1} << 60};
};

/// The number that makes FakePlan fail.
inline constexpr double kPoison = -12345;

/// What FakePlan computes for a row: a function of everything that the row may depend on.
double FakeAnswer(double scale, engine::Op op, double x, uint64_t seed, uint64_t row);

/// A plan of one column: log = FakeAnswer, output = 2 * log. Takes `run_time` + rows * `row_time` of the clock.
class FakePlan : public engine::Plan {
 public:
  struct Made {
    engine::Op op;
    std::vector<size_t> rows;  ///< of each span
  };

  FakePlan(const FakeClock* clock, size_t tile_rows, double scale = 1);

  const engine::PlanInfo& info() const override { return info_; }
  absl::Status Run(engine::Op op, absl::Span<const engine::RowSpan> spans, engine::Workspace& workspace) const override;

  absl::Duration run_time = absl::ZeroDuration();
  absl::Duration row_time = absl::ZeroDuration();
  double scale;
  absl::Status poison_error = absl::InternalError("poisoned row");
  std::function<void()> during_run;  ///< called inside every run

  std::vector<Made> runs() const {
    absl::MutexLock lock(&mutex_);
    return runs_;
  }
  size_t rows_computed() const;

 private:
  const FakeClock* clock_;
  engine::PlanInfo info_;
  mutable absl::Mutex mutex_;
  mutable std::vector<Made> runs_ ABSL_GUARDED_BY(mutex_);
};

/// A request that owns its numbers and notes what became of it.
class TestJob : public RowJob {
 public:
  TestJob(std::shared_ptr<const FakePlan> plan, size_t rows, engine::Op op = engine::Op::kLogProb, double first = 0);

  void Done(absl::Status status) override;

  bool done() const { return times_done.load() > 0; }
  /// Whether every row holds what the plan computes for it.
  bool IsRight() const;

  std::vector<double> input;
  std::vector<double> log;
  std::vector<double> output;
  absl::Status status;
  std::atomic<int> times_done{0};
  std::function<void()> on_done;

 private:
  const FakePlan& fake_;
};

/// Counts what it is told. Thread-safe.
class CountingObserver : public SchedulerObserver {
 public:
  void OnTile(int, engine::Op, size_t tile_rows, size_t jobs, absl::Duration) override {
    tiles += 1;
    rows += tile_rows;
    spans += jobs;
  }
  void OnQueued(int, Priority, absl::Duration wait) override {
    queued += 1;
    waited_nanoseconds += absl::ToInt64Nanoseconds(wait);
  }
  void OnRejected(const char* reason) override {
    absl::MutexLock lock(&mutex_);
    reasons_.push_back(reason);
  }
  std::vector<std::string> reasons() const {
    absl::MutexLock lock(&mutex_);
    return reasons_;
  }

  std::atomic<size_t> tiles{0}, rows{0}, spans{0}, queued{0};
  std::atomic<int64_t> waited_nanoseconds{0};

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::string> reasons_ ABSL_GUARDED_BY(mutex_);
};

/// Runs tiles of `worker` until there are none. Returns how many calls did something.
int Drain(Scheduler& scheduler, int worker = 0);

}  // namespace densityd::serving
