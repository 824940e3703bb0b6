#include "server/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <thread>

namespace densityd {
namespace {

int WaitForOneOf(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

}  // namespace

StopSignals::StopSignals() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  // A peer that closes its socket must not end the server.
  signal(SIGPIPE, SIG_IGN);
}

int StopSignals::Wait() { return WaitForOneOf(signals_); }

void StopSignals::ExitOnNext() {
  std::thread([signals = signals_] { _exit(128 + WaitForOneOf(signals)); }).detach();
}

}  // namespace densityd
