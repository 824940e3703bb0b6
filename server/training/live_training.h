// One training in the server's memory: its state, and who follows it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "density/v1/training.pb.h"
#include "server/training/training_manager.h"

namespace densityd::training {

/// Thread-safe. Watchers see every change in order, one call at a time.
class LiveTraining : public std::enable_shared_from_this<LiveTraining> {
 public:
  explicit LiveTraining(density::v1::Training training) : training_(std::move(training)) {}

  density::v1::Training Get() const ABSL_LOCKS_EXCLUDED(mutex_);

  /// Changes the state, raises its revision and tells the watchers. Must not be called by a watcher.
  void Update(absl::FunctionRef<void(density::v1::Training&)> change) ABSL_LOCKS_EXCLUDED(telling_, mutex_);

  /// See TrainingManager::Watch.
  std::unique_ptr<WatchToken> Watch(uint64_t after_revision, TrainingManager::Watcher watcher)
      ABSL_LOCKS_EXCLUDED(telling_, mutex_);

 private:
  class Token;

  // Held while watchers are called, so that changes reach them in order and the end of a watch waits for its call.
  absl::Mutex telling_ ABSL_ACQUIRED_BEFORE(mutex_);
  std::map<uint64_t, TrainingManager::Watcher> watchers_ ABSL_GUARDED_BY(telling_);
  uint64_t next_watcher_ ABSL_GUARDED_BY(telling_) = 0;
  // The last changes, for those who come back. Empty once the training has ended.
  std::deque<density::v1::Training> history_ ABSL_GUARDED_BY(telling_);

  mutable absl::Mutex mutex_;
  density::v1::Training training_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::training
