#include "server/training/schedule.h"

#include <gtest/gtest.h>

namespace densityd::training {
namespace {

using density::v1::TrainingOptions;

TrainingOptions Options(uint64_t steps, uint64_t warmup, TrainingOptions::Schedule schedule) {
  TrainingOptions options;
  options.set_steps(steps);
  options.set_warmup_steps(warmup);
  options.set_learning_rate(2);
  options.set_schedule(schedule);
  return options;
}

TEST(LearningRateTest, CosineFallsFromTheRateToAlmostNothing) {
  const TrainingOptions options = Options(1000, 0, TrainingOptions::COSINE);
  EXPECT_DOUBLE_EQ(LearningRate(options, 0), 2);
  EXPECT_NEAR(LearningRate(options, 500), 1, 1e-12);
  for (uint64_t step = 1; step < 1000; ++step) EXPECT_LT(LearningRate(options, step), LearningRate(options, step - 1));
  EXPECT_GT(LearningRate(options, 999), 0);
  EXPECT_LT(LearningRate(options, 999), 1e-5);
}

TEST(LearningRateTest, WarmUpRisesInEqualStepsAndMeetsTheSchedule) {
  const TrainingOptions options = Options(100, 4, TrainingOptions::COSINE);
  EXPECT_DOUBLE_EQ(LearningRate(options, 0), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(options, 3), 2);
  EXPECT_DOUBLE_EQ(LearningRate(options, 4), 2);
}

TEST(LearningRateTest, ConstantStays) { EXPECT_EQ(LearningRate(Options(100, 0, TrainingOptions::CONSTANT), 99), 2); }

}  // namespace
}  // namespace densityd::training
