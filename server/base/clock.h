// Time, as something that tests can hold in their hands.
#pragma once

#include "absl/time/time.h"

namespace densityd {

/// Source of the current time. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;

  /// The system's clock.
  static const Clock& Real();
};

}  // namespace densityd
