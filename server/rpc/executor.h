// A few threads for control RPCs: they may wait for disks and locks, which the threads of gRPC must not.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace densityd::rpc {

/// Runs work in order of arrival. Thread-safe.
class Executor {
 public:
  Executor(int threads, size_t max_waiting);
  /// Finishes everything that was accepted.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Accepts `work`, or refuses it: RESOURCE_EXHAUSTED where too much waits already.
  absl::Status Run(std::function<void()> work);

 private:
  void Work();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !waiting_.empty(); }

  const size_t max_waiting_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace densityd::rpc
