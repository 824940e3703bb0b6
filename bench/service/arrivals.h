// When calls are meant to start, in an open loop: independent of how fast the server answers.
#pragma once

#include <random>
#include <string>

#include "absl/time/time.h"

namespace densityd::bench {

/// Sequence of intended start times. Deterministic for a seed.
class Arrivals {
 public:
  /// How the gaps are distributed: all the same; exponential; or bursts of `kBurst` at once with exponential gaps.
  enum class Kind { kConstant, kPoisson, kBursty };
  static constexpr int kBurst = 16;

  /// `rate` in calls per second, > 0.
  Arrivals(Kind kind, double rate, uint64_t seed) : kind_(kind), rate_(rate), generator_(seed) {}

  /// Gap between the previous start and the next one.
  absl::Duration NextGap() {
    switch (kind_) {
      case Kind::kConstant:
        return absl::Seconds(1 / rate_);
      case Kind::kPoisson:
        return absl::Seconds(std::exponential_distribution<double>(rate_)(generator_));
      case Kind::kBursty:
        if (in_burst_++ % kBurst != 0) return absl::ZeroDuration();
        return absl::Seconds(std::exponential_distribution<double>(rate_ / kBurst)(generator_));
    }
    return absl::ZeroDuration();
  }

 private:
  Kind kind_;
  double rate_;
  std::mt19937_64 generator_;
  int in_burst_ = 0;
};

}  // namespace densityd::bench
