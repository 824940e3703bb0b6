// Answers control calls while the row workers compute something long.
//
// Control calls arrive on the workers' queues, which a worker looks at between tiles. A tile of a compiled plan takes a
// fraction of a millisecond; one of a slow model on the reference plan may take seconds. This thread looks at the
// workers every few milliseconds, and where one has been at the same tile for longer it handles its control calls.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {

/// Thread-safe. Lives as long as the workers run.
class StandIn {
 public:
  explicit StandIn(const std::vector<std::unique_ptr<RowWorker>>& workers);
  ~StandIn();
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

 private:
  void Run();

  const std::vector<std::unique_ptr<RowWorker>>& workers_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace densityd::rpc
