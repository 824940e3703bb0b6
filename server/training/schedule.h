// Learning rate of each step.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "density/v1/training.pb.h"

namespace densityd::training {

/// Learning rate of step `step` (0 … steps - 1): linear warm-up to options.learning_rate, then constant, or half a
/// cosine down to 0 (Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5, without restarts). Precondition: resolved
/// options.
inline double LearningRate(const density::v1::TrainingOptions& options, uint64_t step) {
  if (step < options.warmup_steps()) {
    return options.learning_rate() * static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps());
  }
  if (options.schedule() == density::v1::TrainingOptions::CONSTANT) return options.learning_rate();
  const double progress = static_cast<double>(step - options.warmup_steps()) /
                          static_cast<double>(std::max<uint64_t>(1, options.steps() - options.warmup_steps()));
  return options.learning_rate() * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace densityd::training
