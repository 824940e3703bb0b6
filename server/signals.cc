#include "server/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace densityd {
namespace {

int WaitForOneOf(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

}  // namespace

struct StopSignals::First {
  mutable absl::Mutex mutex;
  int signal ABSL_GUARDED_BY(mutex) = 0;
};

StopSignals::StopSignals() : first_(std::make_shared<First>()) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // A peer that closes its socket must not end the server, nor a file that may not grow any more (ulimit -f): both are
  // errors of the call that writes.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  std::thread([first = first_, signals] {
    const int signal = WaitForOneOf(signals);
    {
      absl::MutexLock lock(&first->mutex);
      first->signal = signal;
    }
    _exit(128 + WaitForOneOf(signals));
  }).detach();
}

bool StopSignals::requested() const {
  absl::MutexLock lock(&first_->mutex);
  return first_->signal != 0;
}

int StopSignals::Wait() const {
  const auto came = [this]() ABSL_SHARED_LOCKS_REQUIRED(first_->mutex) { return first_->signal != 0; };
  absl::MutexLock lock(&first_->mutex, absl::Condition(&came));
  return first_->signal;
}

}  // namespace densityd
