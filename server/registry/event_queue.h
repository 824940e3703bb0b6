// Tells about changes in the order in which they happened, outside of every lock.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "density/v1/model_registry.pb.h"

namespace densityd::registry {

/// Thread-safe.
class EventQueue {
 public:
  using Listener = std::function<void(const density::v1::VersionInfo&)>;

  /// `listener` may be null, and may cause further events.
  explicit EventQueue(Listener listener) : listener_(std::move(listener)) {}

  /// Queues an event. Called under the lock that orders the changes.
  void Push(density::v1::VersionInfo event);

  /// Returns when all events that were pushed before have been told, by this thread or another; at once where the
  /// listener itself calls it. Called without locks.
  void Deliver();

 private:
  const Listener listener_;
  absl::Mutex mutex_;
  std::deque<density::v1::VersionInfo> events_ ABSL_GUARDED_BY(mutex_);
  uint64_t pushed_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t delivered_ ABSL_GUARDED_BY(mutex_) = 0;
  bool delivering_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread::id deliverer_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::registry
