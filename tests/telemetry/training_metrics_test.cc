#include "server/telemetry/training_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "prometheus/text_serializer.h"

namespace densityd::telemetry {
namespace {

using density::v1::Training;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Scrape(std::vector<Training> trainings) {
  return prometheus::TextSerializer().Serialize(TrainingMetrics([&] { return trainings; }).Collect());
}

TEST(TrainingMetrics, CountEveryStateEvenWithoutTrainings) {
  const std::string text = Scrape({});
  for (const char* state : {"queued", "running", "succeeded", "failed", "cancelled"}) {
    EXPECT_THAT(text, HasSubstr(std::string("densityd_training_jobs{state=\"") + state + "\"} 0"));
  }
}

TEST(TrainingMetrics, ShowTheProgressOfRunningTrainingsOnly) {
  Training running, ended;
  running.set_id("t-1");
  running.set_model("power");
  running.set_state(density::v1::RUNNING);
  running.mutable_progress()->set_step(30);
  running.mutable_progress()->set_rows_per_second(1000);
  ended = running;
  ended.set_id("t-2");
  ended.set_state(density::v1::FAILED);
  const std::string text = Scrape({running, ended});
  EXPECT_THAT(text, HasSubstr("densityd_training_step{model=\"power\",training=\"t-1\"} 30"));
  EXPECT_THAT(text, HasSubstr("densityd_training_rows_per_second{model=\"power\",training=\"t-1\"} 1000"));
  EXPECT_THAT(text, HasSubstr("densityd_training_jobs{state=\"running\"} 1"));
  EXPECT_THAT(text, HasSubstr("densityd_training_jobs{state=\"failed\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("t-2")));
}

TEST(TrainingMetrics, ShowWhatIsWrongWithATraining) {
  Training running, waiting;
  running.set_id("t-1");
  running.set_model("power");
  running.set_state(density::v1::RUNNING);
  running.set_stalled(true);
  running.mutable_progress()->set_nonfinite_in_a_row(3);
  running.mutable_progress()->set_nonfinite_steps(8);
  running.mutable_progress()->mutable_checkpoint_time()->set_seconds(1234);
  waiting.set_id("t-2");
  waiting.set_model("power");
  waiting.set_state(density::v1::QUEUED);
  waiting.set_resumes(2);
  const std::string text = Scrape({running, waiting});
  EXPECT_THAT(text, HasSubstr("densityd_training_stalled{model=\"power\",training=\"t-1\"} 1"));
  EXPECT_THAT(text, HasSubstr("densityd_training_nonfinite_in_a_row{model=\"power\",training=\"t-1\"} 3"));
  EXPECT_THAT(text, HasSubstr("densityd_training_nonfinite_steps{model=\"power\",training=\"t-1\"} 8"));
  EXPECT_THAT(text, HasSubstr("densityd_training_checkpoint_timestamp_seconds{model=\"power\",training=\"t-1\"} 1234"));
  EXPECT_THAT(text, HasSubstr("densityd_training_resumes{model=\"power\",training=\"t-2\"} 2"));
}

}  // namespace
}  // namespace densityd::telemetry
