#include "server/training/training_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/posix.h"
#include "server/training/training_store.h"
#include "tests/base/faulty_file_system.h"
#include "tests/training/training_manager_testing.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::CANCELLED;
using density::v1::FAILED;
using density::v1::QUEUED;
using density::v1::RUNNING;
using density::v1::SUCCEEDED;
using density::v1::Training;
using density::v1::TrainRequest;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::ManagerFixture;
using testing::Recorder;
using testing::RunToEnd;
using testing::SmallRequest;

TEST_F(TrainingManagerTest, APublishedVersionMakesItSucceed) {
  const Training training = RunToEnd(manager(), SmallRequest("publish"));
  EXPECT_EQ(training.state(), SUCCEEDED) << training.error();
  EXPECT_EQ(training.version(), 1);
  EXPECT_EQ(training.report().steps(), 10);
  EXPECT_TRUE(training.has_end_time());
}

TEST_F(TrainingManagerTest, OnPublishedIsCalledBeforeItIsSeenToSucceed) {
  std::string published;
  std::string state_then;
  fixture_.on_published = [&](const std::string& model, uint64_t version) {
    published = model + "@" + std::to_string(version);
    state_then = density::v1::TrainingState_Name(fixture_.manager().List("")[0].state());
    return absl::OkStatus();
  };
  fixture_.Open();
  RunToEnd(manager(), SmallRequest("publish"));
  EXPECT_EQ(published, "publish@1");
  EXPECT_EQ(state_then, "RUNNING");
}

TEST_F(TrainingManagerTest, AVersionThatCannotBeServedMakesItFail) {
  fixture_.on_published = [](const std::string&, uint64_t) { return absl::ResourceExhaustedError("no memory left"); };
  fixture_.Open();
  const Training training = RunToEnd(manager(), SmallRequest("publish"));
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_EQ(training.error_code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(training.error(), AllOf(HasSubstr("version 1 was published"), HasSubstr("no memory left")));
  EXPECT_EQ(training.version(), 0);
}

TEST_F(TrainingManagerTest, AProcessThatDiesAfterPublishingHasSucceeded) {
  const Training training = RunToEnd(manager(), SmallRequest("publish-die"));
  EXPECT_EQ(training.state(), SUCCEEDED) << training.error();
  EXPECT_EQ(training.version(), 1);
  EXPECT_EQ(training.report().steps(), 10);
}

TEST_F(TrainingManagerTest, ACrashIsToldWithItsSignalAndTheLastOutput) {
  const Training training = RunToEnd(manager(), SmallRequest("crash"));
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_EQ(training.error_code(), static_cast<int>(absl::StatusCode::kInternal));
  EXPECT_THAT(training.error(), AllOf(HasSubstr("SIGABRT"), HasSubstr("about to crash")));
}

TEST_F(TrainingManagerTest, AnExitWithoutAResultIsToldWithItsCode) {
  EXPECT_THAT(RunToEnd(manager(), SmallRequest("exit")).error(), HasSubstr("exit code 3"));
}

TEST_F(TrainingManagerTest, TheReasonOfTheProcessIsTheTrainingsError) {
  const Training training = RunToEnd(manager(), SmallRequest("fail"));
  EXPECT_EQ(training.error_code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(training.error(), "feature_columns: column \"x\" is constant");
}

TEST_F(TrainingManagerTest, ADamagedEventLogIsToldAndHarmsNothing) {
  const Training training = RunToEnd(manager(), SmallRequest("garbage"));
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_THAT(training.error(), HasSubstr("event log is damaged"));
  EXPECT_EQ(RunToEnd(manager(), SmallRequest("publish")).state(), SUCCEEDED);
}

TEST_F(TrainingManagerTest, AMissingProgramIsToldByName) {
  fixture_.options.worker_binary = "/nonexistent/densityd";
  fixture_.Open();
  const Training training = RunToEnd(manager(), SmallRequest("publish"));
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_THAT(training.error(), HasSubstr("/nonexistent/densityd"));
}

TEST_F(TrainingManagerTest, NothingThatAProcessStartedOutlivesIt) {
  const auto started = Start("orphans");
  started->recorder.WaitForEnd();
  pid_t child = 0;
  std::ifstream(fixture_.TrainingFolder(started->id) + "/child") >> child;
  ASSERT_GT(child, 0);
  const FileDescriptor ended(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  if (!ended.valid()) return;  // gone already
  pollfd wait = {ended.get(), POLLIN, 0};
  EXPECT_EQ(poll(&wait, 1, 10'000), 1);
}

TEST_F(TrainingManagerTest, TheProcessIsGivenTheThreadsOfTheRequest) {
  TrainRequest request = SmallRequest("environment");
  request.mutable_options()->set_threads(1);
  EXPECT_EQ(RunToEnd(manager(), request).progress().step(), 1);
}

TEST_F(TrainingManagerTest, AWatcherSeesTheStateNowAndEveryChangeInOrder) {
  const auto started = Start("hang");
  started->recorder.WaitForStep();
  Recorder late;
  const auto token = manager().Watch(started->id, late.watcher());
  EXPECT_EQ(late.seen().front().state(), RUNNING);
  ASSERT_TRUE(manager().Cancel(started->id).ok());
  late.WaitForEnd();
  for (const Recorder* recorder : {&late, &started->recorder}) {
    const std::vector<Training> seen = recorder->seen();
    for (size_t i = 1; i < seen.size(); ++i) EXPECT_EQ(seen[i].revision(), seen[i - 1].revision() + 1);
  }
}

TEST_F(TrainingManagerTest, AnEndedWatchIsNotCalled) {
  const auto started = Start("hang");
  started->recorder.WaitForStep();
  Recorder ended;
  manager().Watch(started->id, ended.watcher())->reset();
  ASSERT_TRUE(manager().Cancel(started->id).ok());
  started->recorder.WaitForEnd();
  EXPECT_EQ(ended.seen().size(), 1);
}

TEST_F(TrainingManagerTest, AWatchMayOutliveTheManager) {
  const auto started = Start("hang");
  started->recorder.WaitForStep();
  fixture_.Close();
  EXPECT_EQ(started->recorder.seen().back().state(), QUEUED);
}

TEST_F(TrainingManagerTest, ADatasetIsInUseUntilItsTrainingEnds) {
  auto upload = fixture_.datasets().Create("", {});
  const std::vector<double> values = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15};
  ASSERT_TRUE((*upload)->Append({values.data(), NumberType::kFloat64, 14, 1}).ok());
  const std::string dataset = (*upload)->Commit()->id();
  TrainRequest request = SmallRequest("hang");
  request.mutable_preset()->set_name("elementwise");
  request.set_dataset(dataset);
  const auto training = manager().Start(request);
  ASSERT_TRUE(training.ok()) << training.status();
  EXPECT_EQ(manager().DeleteDataset(dataset).code(), absl::StatusCode::kFailedPrecondition);
  Recorder recorder;
  const auto token = manager().Watch(training->id(), recorder.watcher());
  ASSERT_TRUE(manager().Cancel(training->id()).ok());
  recorder.WaitForEnd();
  EXPECT_TRUE(manager().DeleteDataset(dataset).ok());
  EXPECT_TRUE(absl::IsNotFound(fixture_.datasets().Get(dataset).status()));
}

TEST_F(TrainingManagerTest, RowsMayHoldNanOnlyInContextThatMayBeMissing) {
  const auto request_with = [](size_t row, size_t column, double number) {
    TrainRequest request = SmallRequest("publish");
    request.mutable_preset()->set_name("elementwise");
    for (const char* name : {"load", "humidity", "wind"}) request.add_columns(name);
    // Not in the order of the data.
    request.add_context_columns("wind");
    request.add_context_columns("humidity");
    auto& humidity = *request.mutable_preset()->mutable_context_encoding()->add_columns();
    humidity.set_name("humidity");
    humidity.set_accept_missing(true);
    std::vector<double> values;
    for (int i = 0; i < 60; ++i) values.push_back(std::sin(i * i));
    values[row * 3 + column] = number;
    testing::SetRows(values, 3, request);
    return request;
  };
  EXPECT_EQ(RunToEnd(manager(), request_with(4, 1, NAN)).state(), SUCCEEDED);
  for (const size_t column : {0, 2}) {
    const absl::Status status = manager().Start(request_with(4, column, NAN)).status();
    EXPECT_EQ(testing::BadField(status), "rows[4]");
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("row 4: column ", column, " holds nan")));
  }
  const absl::Status infinite = manager().Start(request_with(7, 1, INFINITY)).status();
  EXPECT_THAT(std::string(infinite.message()), HasSubstr("row 7: column 1 holds inf"));
}

TEST_F(TrainingManagerTest, AnEndedTrainingIsTheSameAfterARestart) {
  const Training before = RunToEnd(manager(), SmallRequest("publish"));
  fixture_.Open();
  EXPECT_EQ(manager().Get(before.id())->SerializeAsString(), before.SerializeAsString());
}

TEST_F(TrainingManagerTest, WhatAStoppedServerInterruptedGoesOnUnderTheNext) {
  for (const char* script : {"suspend", "hang"}) {
    const auto running = Start(script);
    const auto waiting = Start("publish");
    running->recorder.WaitForStep();
    fixture_.Close();
    EXPECT_EQ(waiting->recorder.seen().back().state(), QUEUED);
    const Training interrupted = running->recorder.seen().back();
    EXPECT_EQ(interrupted.state(), QUEUED);
    EXPECT_THAT(interrupted.interruption(), HasSubstr("the server was stopped at step 1 of 10"));
    fixture_.Open();
    Recorder recorder;
    const auto token = manager().Watch(running->id, recorder.watcher());
    const Training resumed = recorder.WaitFor([](const Training& training) { return training.state() == RUNNING; });
    EXPECT_EQ(resumed.resumes(), 1);
    EXPECT_GT(resumed.revision(), interrupted.revision());
    ASSERT_TRUE(manager().Cancel(running->id).ok());
    EXPECT_EQ(recorder.WaitForEnd().state(), CANCELLED);
    Recorder next;
    const auto next_token = manager().Watch(waiting->id, next.watcher());
    EXPECT_EQ(next.WaitForEnd().state(), SUCCEEDED);
  }
}

TEST_F(TrainingManagerTest, AProcessThatDiesIsStartedAgain) {
  const Training training = RunToEnd(manager(), SmallRequest("crash-once"));
  EXPECT_EQ(training.state(), SUCCEEDED) << training.error();
  EXPECT_EQ(training.resumes(), 1);
  EXPECT_THAT(training.interruption(), HasSubstr("SIGABRT"));
}

TEST_F(TrainingManagerTest, AsLongAsItGetsFurtherItIsStartedAgain) {
  fixture_.options.max_deaths = 2;
  fixture_.Open();
  const Training training = RunToEnd(manager(), SmallRequest("creep"));
  EXPECT_EQ(training.state(), SUCCEEDED) << training.error();
  EXPECT_EQ(training.resumes(), 4);
}

TEST_F(TrainingManagerTest, WhatDiesAtTheSameStepAgainAndAgainFails) {
  const Training training = RunToEnd(manager(), SmallRequest("crash"));
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_EQ(training.resumes(), 2);
  EXPECT_THAT(training.error(), HasSubstr("3 processes in a row have died without getting past step 0"));
}

TEST_F(TrainingManagerTest, ATrainingThatExceedsItsTimeFailsWithTheLimit) {
  TrainRequest request = SmallRequest("hang");
  request.mutable_limits()->set_seconds(0.05);
  const Training training = RunToEnd(manager(), request);
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_EQ(training.error_code(), static_cast<int>(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(training.error(), HasSubstr("limits.seconds = 0.05"));
  EXPECT_EQ(training.resumes(), 0);
}

TEST_F(TrainingManagerTest, ATrainingThatExceedsItsMemoryFailsWithTheLimit) {
  TrainRequest request = SmallRequest("eat");
  request.mutable_limits()->set_memory_bytes(uint64_t{64} << 20);
  const Training training = RunToEnd(manager(), request);
  EXPECT_EQ(training.state(), FAILED);
  EXPECT_EQ(training.error_code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(training.error(), HasSubstr("limits.memory_bytes = 67108864"));
}

TEST_F(TrainingManagerTest, TheServersLimitsAreDefaultAndBound) {
  fixture_.options.max_limits.set_seconds(10);
  fixture_.options.max_limits.set_memory_bytes(uint64_t{1} << 30);
  fixture_.Open();
  EXPECT_EQ(manager().Start(SmallRequest("publish"))->limits().seconds(), 10);
  TrainRequest request = SmallRequest("publish");
  request.mutable_limits()->set_seconds(11);
  EXPECT_EQ(testing::BadField(manager().Start(request).status()), "limits.seconds");
  request.mutable_limits()->set_seconds(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(testing::BadField(manager().Start(request).status()), "limits.seconds");
  request.mutable_limits()->set_seconds(5);
  EXPECT_EQ(manager().Start(request)->limits().seconds(), 5);
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{1} << 31}) {
    request.mutable_limits()->set_memory_bytes(bytes);
    EXPECT_EQ(testing::BadField(manager().Start(request).status()), "limits.memory_bytes");
  }
}

TEST_F(TrainingManagerTest, ASilentProcessIsSaidToStall) {
  fixture_.options.stall = absl::Milliseconds(20);
  fixture_.Open();
  const auto started = Start("hang");
  EXPECT_EQ(started->recorder.WaitFor([](const Training& training) { return training.stalled(); }).state(), RUNNING);
}

TEST_F(TrainingManagerTest, AWatchGoesOnBehindTheRevisionThatWasSeen) {
  const auto started = Start("hang");
  started->recorder.WaitForStep();
  const std::vector<Training> seen = started->recorder.seen();
  Recorder all;
  const auto all_token = manager().Watch(started->id, all.watcher(), /*after_revision=*/1);
  const std::vector<Training> behind = all.seen();
  ASSERT_EQ(behind.size(), seen.back().revision() - 1);
  for (size_t i = 0; i < behind.size(); ++i) EXPECT_EQ(behind[i].revision(), 2 + i);
  Recorder none;
  const auto none_token = manager().Watch(started->id, none.watcher(), seen.back().revision());
  EXPECT_TRUE(none.seen().empty());
  Recorder future;
  const auto future_token = manager().Watch(started->id, future.watcher(), seen.back().revision() + 1000);
  EXPECT_EQ(future.seen().size(), 1);
  ASSERT_TRUE(manager().Cancel(started->id).ok());
  const Training last = none.WaitForEnd();
  // A final state is sent whoever has seen it.
  Recorder late;
  const auto late_token = manager().Watch(started->id, late.watcher(), last.revision());
  EXPECT_EQ(late.seen().size(), 1);
}

TEST_F(TrainingManagerTest, WhatWasPublishedBeforeTheServerWasKilledIsFoundSucceeded) {
  for (const char* script : {"publish", "publish-die"}) {
    const std::string id = RunToEnd(manager(), SmallRequest(script)).id();
    fixture_.Close();
    ASSERT_TRUE(fixture_.files().Remove(fixture_.TrainingFolder(id) + "/outcome").ok());
    fixture_.Open();
    EXPECT_EQ(manager().Get(id)->state(), SUCCEEDED) << script;
    EXPECT_EQ(manager().Get(id)->version(), 1) << script;
  }
}

// The log of events is not synced at every step: what the power took must not end a training that has a checkpoint.
TEST_F(TrainingManagerTest, ATrainingGoesOnWhateverTheEndOfItsEventLogIs) {
  for (const std::string& tail : {std::string(4096, '\0'), std::string(4096, '\xff'), std::string(300, 'x')}) {
    auto started = Start("suspend");
    started->recorder.WaitForStep();
    const std::string id = started->id;
    started.reset();
    fixture_.Close();
    const std::string events = fixture_.TrainingFolder(id) + kEventsFile;
    densityd::testing::WriteFile(events, densityd::testing::ReadFile(events) + tail);
    densityd::testing::WriteFile(fixture_.TrainingFolder(id) + "/checkpoint-1.safetensors", "kept");
    fixture_.Open();
    Recorder next;
    const auto token = manager().Watch(id, next.watcher());
    const Training resumed = next.WaitFor([](const Training& training) {
      return training.state() == density::v1::RUNNING && training.progress().step() == 1 && training.resumes() == 1;
    });
    EXPECT_EQ(resumed.state(), density::v1::RUNNING) << resumed.error();
    EXPECT_TRUE(*fixture_.files().Exists(fixture_.TrainingFolder(id) + "/checkpoint-1.safetensors"));
    ASSERT_TRUE(manager().Cancel(id).ok());
    next.WaitForEnd();
  }
}

TEST_F(TrainingManagerTest, ADamagedTrainingIsReportedAndTheOthersServed) {
  const Training good = RunToEnd(manager(), SmallRequest("publish"));
  const Training bad = RunToEnd(manager(), SmallRequest("publish"));
  fixture_.Close();
  densityd::testing::WriteFile(fixture_.TrainingFolder(bad.id()) + "/job", "rubbish");
  fixture_.Open();
  EXPECT_EQ(manager().Get(good.id())->state(), SUCCEEDED);
  EXPECT_EQ(manager().Get(bad.id())->state(), FAILED);
  EXPECT_EQ(manager().Get(bad.id())->error_code(), static_cast<int>(absl::StatusCode::kDataLoss));
}

TEST_F(TrainingManagerTest, WhatCouldNotBeReadIsLeftAloneHoweverManyEnded) {
  TrainRequest request = SmallRequest("publish");
  request.set_idempotency_key("key");
  const std::string unread = RunToEnd(manager(), request).id();
  const std::string damaged = RunToEnd(manager(), SmallRequest("publish")).id();
  for (int i = 0; i < 3; ++i) RunToEnd(manager(), SmallRequest("publish"));
  fixture_.options.keep_finished = 1;
  fixture_.Close();
  // A folder in the place of a file is an I/O error, as a failing disk gives.
  const std::string outcome = fixture_.TrainingFolder(unread) + "/outcome";
  std::filesystem::rename(outcome, outcome + ".kept");
  std::filesystem::create_directory(outcome);
  densityd::testing::WriteFile(fixture_.TrainingFolder(damaged) + "/job", "rubbish");
  fixture_.Open();
  EXPECT_EQ(manager().Get(unread)->state(), FAILED);
  EXPECT_NE(manager().Get(unread)->error_code(), static_cast<int>(absl::StatusCode::kDataLoss));
  // Whoever repeats the request does not start another one.
  EXPECT_EQ(manager().Start(request)->id(), unread);
  EXPECT_TRUE(std::filesystem::exists(fixture_.TrainingFolder(damaged) + "/job"));
  EXPECT_EQ(manager().List("").size(), 3);
  fixture_.Close();
  std::filesystem::remove(outcome);
  std::filesystem::rename(outcome + ".kept", outcome);
  fixture_.options.keep_finished = 100;
  fixture_.Open();
  EXPECT_EQ(manager().Get(unread)->state(), SUCCEEDED);
}

TEST_F(TrainingManagerTest, ListIsNewestFirstAndByModel) {
  const std::string first = RunToEnd(manager(), SmallRequest("publish")).id();
  const std::string second = RunToEnd(manager(), SmallRequest("exit")).id();
  const std::string third = RunToEnd(manager(), SmallRequest("publish")).id();
  std::vector<std::string> ids;
  for (const Training& training : manager().List("")) ids.push_back(training.id());
  EXPECT_THAT(ids, ::testing::ElementsAre(third, second, first));
  ids.clear();
  for (const Training& training : manager().List("publish")) ids.push_back(training.id());
  EXPECT_THAT(ids, ::testing::ElementsAre(third, first));
}

TEST_F(TrainingManagerTest, UnknownAndHostileIdsAreRefused) {
  EXPECT_EQ(manager().Get("training-nobody").status().code(), absl::StatusCode::kNotFound);
  for (const std::string& id : {std::string(), std::string(".."), std::string("../x"), std::string("a/b"),
                                std::string("T"), std::string("a\0b", 3)}) {
    EXPECT_EQ(manager().Get(id).status().code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(manager().Cancel(id).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

// Whatever fails while a request is recorded, the request is refused and nothing of it remains.
TEST(TrainingManagerFaultTest, AFullDiskLeavesNothingBehind) {
  bool reached = true;
  for (int point = 0; reached; ++point) {
    densityd::testing::TempFolder root;
    densityd::testing::FaultyFileSystem files(FileSystem::Real());
    DatasetStore datasets = DatasetStore::Open(files, root.path(), 1 << 20).value();
    TrainingManagerOptions options;
    options.root = root.path();
    options.worker_binary = testing::TestProgram("fake_training_worker");
    options.max_running = 0;
    auto manager = TrainingManager::Open(files, datasets, options, nullptr);
    ASSERT_TRUE(manager.ok()) << manager.status();
    files.FailAt(files.changes() + point, absl::ResourceExhaustedError("no space left"));
    const auto started = (*manager)->Start(SmallRequest("publish"));
    reached = files.reached();
    if (!reached) {
      EXPECT_TRUE(started.ok()) << started.status();
      break;
    }
    // A clean-up that fails is no reason to refuse; every other failure is.
    if (started.ok()) continue;
    EXPECT_EQ(started.status().code(), absl::StatusCode::kResourceExhausted) << point;
    EXPECT_THAT((*manager)->List(""), ::testing::IsEmpty());
    EXPECT_THAT(*FileSystem::Real().List(root.Path("trainings")), ::testing::IsEmpty()) << point;
    EXPECT_THAT(*FileSystem::Real().List(root.Path("tmp")), ::testing::IsEmpty()) << point;
  }
}

}  // namespace
}  // namespace densityd::training
