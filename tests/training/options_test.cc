#include "server/training/options.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::TrainingOptions;
using testing::BadField;

TrainingOptions With(const std::function<void(TrainingOptions&)>& set) {
  TrainingOptions options;
  set(options);
  return options;
}

TEST(CheckOptionsTest, DefaultsAndLimitsAreAccepted) {
  EXPECT_TRUE(CheckOptions(TrainingOptions()).ok());
  EXPECT_TRUE(CheckOptions(With([](auto& o) { o.set_steps(10'000'000); })).ok());
  EXPECT_TRUE(CheckOptions(With([](auto& o) { o.set_batch_size(1 << 20); })).ok());
  EXPECT_TRUE(CheckOptions(With([](auto& o) { o.set_learning_rate(10); })).ok());
  EXPECT_TRUE(CheckOptions(With([](auto& o) { o.set_validation_fraction(0.5); })).ok());
  EXPECT_TRUE(CheckOptions(With([](auto& o) { o.set_clip_norm(0); })).ok());
}

TEST(CheckOptionsTest, WhatIsOutOfRangeIsRefusedByName) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::pair<std::string, TrainingOptions>> cases = {
      {"options.steps", With([](auto& o) { o.set_steps(0); })},
      {"options.steps", With([](auto& o) { o.set_steps(10'000'001); })},
      {"options.batch_size", With([](auto& o) { o.set_batch_size(0); })},
      {"options.batch_size", With([](auto& o) { o.set_batch_size((1 << 20) + 1); })},
      {"options.learning_rate", With([](auto& o) { o.set_learning_rate(0); })},
      {"options.learning_rate", With([](auto& o) { o.set_learning_rate(10.1); })},
      {"options.learning_rate", With([&](auto& o) { o.set_learning_rate(nan); })},
      {"options.weight_decay", With([](auto& o) { o.set_weight_decay(-1e-9); })},
      {"options.weight_decay", With([&](auto& o) { o.set_weight_decay(nan); })},
      {"options.warmup_steps", With([](auto& o) { o.set_warmup_steps(2000); })},
      {"options.clip_norm", With([](auto& o) { o.set_clip_norm(std::numeric_limits<double>::infinity()); })},
      {"options.ema_decay", With([](auto& o) { o.set_ema_decay(1); })},
      {"options.validation_fraction", With([](auto& o) { o.set_validation_fraction(0); })},
      {"options.validation_fraction", With([](auto& o) { o.set_validation_fraction(0.51); })},
      {"options.validation_interval", With([](auto& o) { o.set_validation_interval(0); })},
      {"options.max_nonfinite_steps", With([](auto& o) { o.set_max_nonfinite_steps(0); })},
      {"options.max_nonfinite_steps", With([](auto& o) { o.set_max_nonfinite_steps(1001); })},
      {"options.threads", With([](auto& o) { o.set_threads(100'000); })},
      {"options.optimizer", With([](auto& o) { o.set_optimizer(static_cast<TrainingOptions::Optimizer>(77)); })},
      {"options.trainer", With([](auto& o) { o.set_trainer(static_cast<TrainingOptions::Trainer>(77)); })},
      {"options.schedule", With([](auto& o) { o.set_schedule(static_cast<TrainingOptions::Schedule>(77)); })},
  };
  for (const auto& [field, options] : cases) {
    const absl::Status status = CheckOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << options.ShortDebugString();
    EXPECT_EQ(BadField(status), field);
  }
}

TEST(ComputeSplitTest, EveryRowIsInOneSplitAndNoneIsEmpty) {
  for (const double fraction : {1e-9, 0.1, 0.33, 0.5}) {
    for (uint64_t rows = kMinRows; rows < 200; ++rows) {
      const auto split = ComputeSplit(With([&](auto& o) { o.set_validation_fraction(fraction); }), rows);
      ASSERT_TRUE(split.ok());
      EXPECT_EQ(split->train + split->validation, rows);
      EXPECT_GE(split->validation, 1);
      EXPECT_GE(split->train, rows / 2);
    }
  }
}

TEST(ComputeSplitTest, TooFewRowsAreRefused) {
  EXPECT_EQ(BadField(ComputeSplit(TrainingOptions(), kMinRows - 1).status()), "rows");
}

TEST(ResolveOptionsTest, FillsInEveryDefault) {
  const TrainingOptions options = *ResolveOptions(TrainingOptions(), 10'000);
  const auto* descriptor = TrainingOptions::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    if (field->has_presence()) {
      EXPECT_TRUE(options.GetReflection()->HasField(options, field)) << field->name();
    }
  }
  EXPECT_EQ(options.steps(), 2000);
  EXPECT_EQ(options.batch_size(), 512);
  EXPECT_EQ(options.validation_interval(), 100);
  EXPECT_EQ(options.optimizer(), TrainingOptions::ADAM);
  EXPECT_EQ(options.trainer(), TrainingOptions::COMPILED);
  EXPECT_EQ(options.schedule(), TrainingOptions::COSINE);
  EXPECT_TRUE(CheckOptions(options).ok());
}

TEST(ResolveOptionsTest, DefaultsFollowTheDataAndTheOtherOptions) {
  EXPECT_EQ(ResolveOptions(TrainingOptions(), 100)->batch_size(), 100);
  EXPECT_EQ(ResolveOptions(With([](auto& o) { o.set_optimizer(TrainingOptions::ADAMW); }), 100)->weight_decay(), 1e-2);
  EXPECT_EQ(ResolveOptions(With([](auto& o) { o.set_steps(7); }), 100)->validation_interval(), 1);
  EXPECT_EQ(ResolveOptions(With([](auto& o) { o.set_steps(1'000'000); }), 100)->validation_interval(), 1000);
}

TEST(ResolveOptionsTest, ABatchLargerThanTheTrainSplitIsRefused) {
  const TrainingOptions options = With([](auto& o) { o.set_batch_size(101); });
  EXPECT_EQ(BadField(ResolveOptions(options, 100).status()), "options.batch_size");
}

}  // namespace
}  // namespace densityd::training
