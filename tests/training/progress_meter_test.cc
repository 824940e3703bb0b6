#include "server/training/progress_meter.h"

#include <gtest/gtest.h>

#include <cmath>

namespace densityd::training {
namespace {

density::v1::TrainingOptions Options() {
  density::v1::TrainingOptions options;
  options.set_steps(100'000);
  options.set_batch_size(10);
  return options;
}

TEST(ProgressMeterTest, NothingIsKnownBeforeTheFirstValidation) {
  ProgressMeter meter(Options(), "compiled", "");
  const density::v1::TrainingProgress progress = meter.Take(0.5);
  EXPECT_TRUE(std::isnan(progress.validation_nll()));
  EXPECT_TRUE(std::isnan(progress.best_validation_nll()));
  EXPECT_EQ(progress.learning_rate(), 0.5);
  EXPECT_EQ(progress.total_steps(), 100'000);
}

TEST(ProgressMeterTest, TrainNllIsTheMeanOfTheInterval) {
  ProgressMeter meter(Options(), "compiled", "");
  meter.AddStep(100);
  meter.Take(1);
  meter.AddStep(1);
  meter.AddSkippedStep();
  meter.AddStep(3);
  const density::v1::TrainingProgress progress = meter.Take(1);
  EXPECT_EQ(progress.train_nll(), 2);
  EXPECT_EQ(progress.step(), 4);
  EXPECT_EQ(progress.nonfinite_steps(), 1);
  EXPECT_GT(progress.rows_per_second(), 0);
  EXPECT_GT(progress.eta_seconds(), 0);
}

TEST(ProgressMeterTest, TheBestValidationStays) {
  ProgressMeter meter(Options(), "compiled", "");
  meter.AddStep(1);
  meter.AddValidation(5, /*is_best=*/true);
  meter.AddStep(1);
  meter.AddValidation(7, /*is_best=*/false);
  const density::v1::TrainingProgress progress = meter.Take(1);
  EXPECT_EQ(progress.validation_nll(), 7);
  EXPECT_EQ(progress.best_validation_nll(), 5);
  EXPECT_EQ(progress.best_step(), 1);
}

TEST(ProgressMeterTest, SaysWhatTakesTheSteps) {
  ProgressMeter meter(Options(), "libtorch", "layers.3 has no compiled form");
  EXPECT_EQ(meter.trainer(), "libtorch");
  const density::v1::TrainingProgress progress = meter.Take(1);
  EXPECT_EQ(progress.trainer(), "libtorch");
  EXPECT_EQ(progress.not_compiled_because(), "layers.3 has no compiled form");
  density::v1::TrainingReport report;
  meter.Complete(report);
  EXPECT_EQ(report.trainer(), "libtorch");
  EXPECT_EQ(report.not_compiled_because(), "layers.3 has no compiled form");
}

TEST(ProgressMeterTest, ALongCurveIsThinnedAndKeepsItsEnd) {
  ProgressMeter meter(Options(), "compiled", "");
  for (int step = 1; step <= 50'000; ++step) {
    meter.AddStep(step);
    meter.AddValidation(step, true);
  }
  density::v1::TrainingReport report;
  meter.Complete(report);
  EXPECT_LE(report.curve_size(), 2000);
  EXPECT_GE(report.curve_size(), 1000);
  for (int i = 1; i < report.curve_size(); ++i) EXPECT_GT(report.curve(i).step(), report.curve(i - 1).step());
  EXPECT_EQ(report.curve(report.curve_size() - 1).step(), 50'000);
  EXPECT_EQ(report.steps(), 50'000);
}

}  // namespace
}  // namespace densityd::training
