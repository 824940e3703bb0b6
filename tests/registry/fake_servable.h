// A servable that holds nothing, and a loader that a test can hold back.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/registry/servable.h"

namespace densityd::registry::testing {

/// Counts how many of its kind are alive.
class FakeServable final : public Servable {
 public:
  FakeServable(size_t bytes, size_t scratch_bytes, double mark, std::shared_ptr<std::atomic<int>> alive)
      : bytes_(bytes), scratch_bytes_(scratch_bytes), mark_(mark), alive_(std::move(alive)) {
    ++*alive_;
  }
  ~FakeServable() override { --*alive_; }

  size_t memory_bytes() const override { return bytes_; }
  size_t scratch_bytes() const override { return scratch_bytes_; }
  std::string plan_name() const override { return "fake"; }
  bool rows_are_independent() const override { return true; }
  /// The mark of the manifest that it was loaded from.
  double mark() const { return mark_; }

 private:
  const size_t bytes_;
  const size_t scratch_bytes_;
  const double mark_;
  const std::shared_ptr<std::atomic<int>> alive_;
};

/// Makes FakeServables of `bytes` bytes. Thread-safe.
class FakeLoader {
 public:
  explicit FakeLoader(size_t bytes = 1000, size_t scratch_bytes = 0) : bytes_(bytes), scratch_bytes_(scratch_bytes) {}

  Loader AsLoader() {
    return [this](const StoredVersion& stored) { return Load(stored); };
  }

  /// Loads wait from now on; AwaitLoading returns when one does.
  void Hold() {
    absl::MutexLock lock(&mutex_);
    held_ = true;
  }
  void AwaitLoading() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* waiting) { return *waiting > 0; }, &waiting_));
  }
  void Release() {
    absl::MutexLock lock(&mutex_);
    held_ = false;
  }
  /// Loads fail from now on; OK: they do not.
  void Fail(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    failure_ = std::move(status);
  }
  int alive() const { return *alive_; }
  int loads() const { return loads_; }
  /// Lowest niceness of the threads that have loaded.
  int niceness() const { return niceness_; }

 private:
  absl::StatusOr<std::shared_ptr<const Servable>> Load(const StoredVersion& stored) {
    absl::MutexLock lock(&mutex_);
    ++waiting_;
    mutex_.Await(absl::Condition(
        +[](bool* held) { return !*held; }, &held_));
    --waiting_;
    ++loads_;
    niceness_ = std::min<int>(niceness_, getpriority(PRIO_PROCESS, 0));
    if (!failure_.ok()) return failure_;
    return std::make_shared<FakeServable>(bytes_, scratch_bytes_,
                                          stored.manifest.report().validation_log_likelihood() * -3, alive_);
  }

  const size_t bytes_;
  const size_t scratch_bytes_;
  const std::shared_ptr<std::atomic<int>> alive_ = std::make_shared<std::atomic<int>>(0);
  std::atomic<int> loads_{0};
  std::atomic<int> niceness_{PRIO_MAX};
  absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::registry::testing
