// Signals as something to wait for.
#pragma once

#include <memory>

namespace densityd {

/// Takes SIGTERM and SIGINT out of the hands of their default actions: the first is noted, the second ends the process
/// at once, with 128 + its number as shells expect. Make it before any thread, which then inherits the mask.
/// Thread-safe.
class StopSignals {
 public:
  StopSignals();

  /// Whether the first came.
  bool requested() const;
  /// Waits for the first and returns its number.
  int Wait() const;

 private:
  struct First;
  /// Shared with the thread that listens, for as long as the process lives.
  std::shared_ptr<First> first_;
};

}  // namespace densityd
