// The kernels of training, dispatched to the best vector instructions of this machine (cpu::TargetName).
#pragma once

#include <cstddef>
#include <span>

#include "server/engine/train/program.h"
#include "server/engine/train/shard.h"

namespace densityd::engine::train {

/// Sum over the rows of the shard of weight * (|z|^2 / 2 - log|det|), or with -log p(z) of another base, and its
/// gradient by all parameters, which is set or added to. What masks keep at zero is not written: `gradient`, as long as
/// the parameters, is zero there already.
double ShardGradient(const Program& program, const float* parameters, const Shard& shard, float* gradient);

/// Takes the rows of the shard to the base: all values, and log|det|.
void ShardForward(const Program& program, const float* parameters, const Shard& shard);

/// sum[i] = parts[0][i] + parts[1][i] + … for `count` numbers, a multiple of 16; the sum of the squares.
/// `sum` may be the first part.
double SumParts(std::span<const float* const> parts, size_t count, float* sum);

/// Decay of Adam's moments, and what keeps its quotient finite.
inline constexpr double kBeta1 = 0.9;
inline constexpr double kBeta2 = 0.999;
inline constexpr double kEpsilon = 1e-8;

/// A step of Adam (Kingma and Ba 2015) or AdamW.
struct AdamStep {
  float gradient_factor = 1;  ///< clips the gradient
  float rate = 0;             ///< over 1 - beta1^step
  float root_correction = 1;  ///< 1 / sqrt(1 - beta2^step)
  float added_decay = 0;      ///< added to the gradient, times the value
  float decay_factor = 1;     ///< of the value, before the step
  float average_share = 0;    ///< share of the new value in the moving average
};

/// What a step changes: `count` numbers each, a multiple of 16. `average` may be null.
struct AdamNumbers {
  size_t count = 0;
  const float* gradient = nullptr;
  float* values = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  float* average = nullptr;
};
void TakeAdamStep(const AdamStep& step, const AdamNumbers& numbers);

}  // namespace densityd::engine::train
