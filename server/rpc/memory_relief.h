// Gives memory of requests back while much of it is in use.
//
// What a request held is kept by the allocator for the next one, which need not fit into it: messages come in pieces,
// and become blocks. Near the ceiling, where what is kept would come on top of what is in use, it goes back to the
// system instead, as it is freed or some milliseconds later.
#pragma once

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/serving/scheduler.h"

namespace densityd::rpc {

/// Thread-safe.
class MemoryRelief {
 public:
  /// `scheduler` outlives it.
  explicit MemoryRelief(const serving::Scheduler& scheduler);
  ~MemoryRelief();
  MemoryRelief(const MemoryRelief&) = delete;
  MemoryRelief& operator=(const MemoryRelief&) = delete;

 private:
  void Run();

  const serving::Scheduler& scheduler_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace densityd::rpc
