#include "server/training/resumption.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace densityd::training {
namespace {

using density::v1::Training;
using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1000);

// A process ran for ten seconds up to `step`, wrote its last checkpoint at `checkpoint`, and died.
bool Die(uint64_t step, uint64_t checkpoint, int max_deaths, RunRecord& record, Training& training) {
  BeginRun(kStart, training.revision(), record);
  training.mutable_progress()->set_step(step);
  training.mutable_progress()->set_total_steps(100);
  training.mutable_progress()->set_checkpoint_step(checkpoint);
  return NoteDeath(kStart + absl::Seconds(10), "it died", max_deaths, record, training);
}

TEST(ResumptionTest, DeathsWithoutACheckpointBeyondTheLastAreCounted) {
  RunRecord record;
  Training training;
  EXPECT_TRUE(Die(50, 40, 3, record, training));
  EXPECT_EQ(training.state(), density::v1::QUEUED);
  // New checkpoints, but none beyond step 50: the same place.
  EXPECT_TRUE(Die(50, 45, 3, record, training));
  EXPECT_FALSE(Die(49, 48, 3, record, training));
  EXPECT_EQ(training.state(), density::v1::FAILED);
  EXPECT_THAT(training.error(), HasSubstr("it died"));
  EXPECT_THAT(training.error(), HasSubstr("3 processes in a row have died without getting past step 50"));
}

TEST(ResumptionTest, ACheckpointBeyondTheLastDeathIsProgress) {
  RunRecord record;
  Training training;
  for (uint64_t step = 10; step < 100; step += 10) EXPECT_TRUE(Die(step, step - 5, 2, record, training)) << step;
  EXPECT_EQ(record.resumes(), 8);
  EXPECT_DOUBLE_EQ(record.seconds(), 90);
}

TEST(ResumptionTest, ASuspensionIsNoDeath) {
  RunRecord record;
  Training training;
  EXPECT_TRUE(Die(5, 0, 2, record, training));
  for (int i = 0; i < 5; ++i) {
    BeginRun(kStart, training.revision(), record);
    SuspendRun(kStart + absl::Seconds(1), "the server was stopped", record, training);
  }
  EXPECT_EQ(record.deaths_in_a_row(), 1);
  EXPECT_EQ(training.interruption(), "the server was stopped");
}

}  // namespace
}  // namespace densityd::training
