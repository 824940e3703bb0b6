// Adam against its definition.
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/philox.h"
#include "server/engine/train/kernels.h"

namespace densityd::engine::train {
namespace {

constexpr size_t kCount = 80;

struct Numbers {
  cpu::Arena memory{5 * kCount};
  AdamNumbers numbers{kCount,
                      memory.data(),
                      memory.data() + kCount,
                      memory.data() + 2 * kCount,
                      memory.data() + 3 * kCount,
                      memory.data() + 4 * kCount};
};

TEST(TakeAdamStepTest, IsAdam) {
  Numbers state;
  FillStandardNormal(1, 0, 1, 2 * kCount, state.memory.data());
  std::vector<double> values(state.numbers.values, state.numbers.values + kCount);
  std::vector<double> average(kCount);
  std::vector<double> first(kCount);
  std::vector<double> second(kCount);
  for (int t = 1; t <= 5; ++t) {
    AdamStep step;
    step.gradient_factor = 0.5f;
    step.rate = static_cast<float>(1e-2 / (1 - std::pow(0.9, t)));
    step.root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(0.999, t)));
    step.added_decay = 1e-2f;
    step.decay_factor = 0.99f;
    step.average_share = 0.25f;
    TakeAdamStep(step, state.numbers);
    for (size_t i = 0; i < kCount; ++i) {
      const double gradient = 0.5 * state.numbers.gradient[i] + 1e-2 * values[i];
      first[i] = 0.9 * first[i] + 0.1 * gradient;
      second[i] = 0.999 * second[i] + 0.001 * gradient * gradient;
      const double mean = first[i] / (1 - std::pow(0.9, t));
      const double square = second[i] / (1 - std::pow(0.999, t));
      values[i] = 0.99 * values[i] - 1e-2 * mean / (std::sqrt(square) + 1e-8);
      average[i] += 0.25 * (values[i] - average[i]);
    }
  }
  for (size_t i = 0; i < kCount; ++i) {
    EXPECT_NEAR(state.numbers.values[i], values[i], 1e-6) << i;
    EXPECT_NEAR(state.numbers.average[i], average[i], 1e-6) << i;
  }
}

TEST(SumPartsTest, AddsAndSquares) {
  cpu::Arena memory(3 * kCount);
  FillStandardNormal(2, 0, 1, 3 * kCount, memory.data());
  const std::vector<float> before(memory.data(), memory.data() + 3 * kCount);
  const float* parts[] = {memory.data(), memory.data() + kCount, memory.data() + 2 * kCount};
  const double squares = SumParts(parts, kCount, memory.data());
  double expected = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const float sum = before[i] + before[i + kCount] + before[i + 2 * kCount];
    EXPECT_EQ(memory.data()[i], sum);
    expected += static_cast<double>(sum) * sum;
  }
  EXPECT_NEAR(squares, expected, 1e-5 * expected);
}

}  // namespace
}  // namespace densityd::engine::train
