// Looks again and again for what other processes did to the store.
#pragma once

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/registry/model_manager.h"

namespace densityd::registry {

/// Calls ReloadFromDisk at an interval, on a thread of its own, until destroyed. Polling, because notification does not
/// cross machines. What failed to load is not tried again by itself.
class RootPoll {
 public:
  RootPoll(ModelManager& models, absl::Duration interval);
  ~RootPoll();

 private:
  void Run();

  ModelManager& models_;
  const absl::Duration interval_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace densityd::registry
