// For what happens again and again, and is to be said now and then.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/time/time.h"

namespace densityd {

/// Not thread-safe.
class Seldom {
 public:
  /// Says yes at most once per `interval`.
  explicit Seldom(absl::Duration interval) : interval_(interval) {}

  /// It happened again: how often since the last yes, this time included, where it is to be said; else 0.
  uint64_t Count(absl::Time now) {
    ++count_;
    if (now < next_) return 0;
    next_ = now + interval_;
    return std::exchange(count_, 0);
  }

 private:
  const absl::Duration interval_;
  absl::Time next_ = absl::InfinitePast();
  uint64_t count_ = 0;
};

}  // namespace densityd
