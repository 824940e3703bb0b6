// Notices when nobody can connect any more.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace densityd::rpc {

/// Calls `probe` again and again, and `on_change` with what that says: false after two failures in a row, true after
/// the next success. Begins with true, untold. Both are called on a thread of its own, until this is destroyed.
class AcceptorWatch {
 public:
  using Probe = std::function<absl::Status()>;
  using OnChange = std::function<void(bool reachable)>;

  AcceptorWatch(Probe probe, absl::Duration interval, OnChange on_change);
  ~AcceptorWatch();

 private:
  void Run();
  void Observe(const absl::Status& status);

  const Probe probe_;
  const absl::Duration interval_;
  const OnChange on_change_;
  int failures_ = 0;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace densityd::rpc
