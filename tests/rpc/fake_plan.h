// A plan whose answers a test can predict, and whose runs a test can hold up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/engine/plan.h"

namespace densityd::rpc {

/// What all fake plans of a test share. Thread-safe.
class PlanProbe {
 public:
  /// Holds every run that begins from now on.
  void Hold();
  void Release();
  /// Lets one held run go on.
  void ReleaseOne();
  /// Waits until `runs` runs have begun in all.
  void AwaitRuns(int runs);
  /// Called by plans at the beginning of a run of `requests` requests and `rows` rows.
  void OnRun(size_t requests, size_t rows);

  size_t rows() const;
  /// The most requests that shared a run.
  size_t most_requests() const;

 private:
  bool MayGoOn() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !holding_ || permits_ > 0; }

  mutable absl::Mutex mutex_;
  bool holding_ ABSL_GUARDED_BY(mutex_) = false;
  int permits_ ABSL_GUARDED_BY(mutex_) = 0;
  int runs_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t rows_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t most_requests_ ABSL_GUARDED_BY(mutex_) = 0;
};

/// From so many columns on log p is an estimate, with the standard error |x_0| / 10.
inline constexpr size_t kFakeEstimateFeatures = 4;

/// Rows with a number between this and ten times as much are refused; the negative of such a number makes log p NaN.
inline constexpr double kFakeFarthest = 1e6;

/// log p(x | c) = -sum x^2 / 2 - sum c; z = 2 x; the sample of (seed, row, column) is FakeSample.
class FakePlan final : public engine::Plan {
 public:
  FakePlan(size_t features, size_t context, NumberType precision, std::shared_ptr<PlanProbe> probe);

  const engine::PlanInfo& info() const override { return info_; }
  absl::Status Run(engine::Op op, absl::Span<const engine::RowSpan> spans, engine::Workspace& workspace) const override;

 private:
  absl::Status RunRow(engine::Op op, const engine::RowSpan& span, size_t row) const;

  engine::PlanInfo info_;
  std::shared_ptr<PlanProbe> probe_;
};

double FakeSample(uint64_t seed, uint64_t row, size_t column);

}  // namespace densityd::rpc
