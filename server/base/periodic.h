// Something that is done again and again.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace densityd {

/// A thread that waits for `interval`, calls `work`, waits again. As a member it comes last, after all that `work`
/// uses.
class Periodic {
 public:
  Periodic(absl::Duration interval, std::function<void()> work);
  /// Ends a wait at once; a call that runs is waited for.
  ~Periodic();
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

 private:
  void Run();

  const absl::Duration interval_;
  const std::function<void()> work_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace densityd
