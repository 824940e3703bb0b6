// Signals as something to wait for.
#pragma once

#include <signal.h>

namespace densityd {

/// Takes SIGTERM and SIGINT out of the hands of their default actions. Make it before any thread, which then inherits
/// the mask.
class StopSignals {
 public:
  StopSignals();

  /// Waits for a signal and returns its number.
  int Wait();
  /// From now on a signal ends the process at once, with 128 + its number as shells expect.
  void ExitOnNext();

 private:
  sigset_t signals_;
};

}  // namespace densityd
