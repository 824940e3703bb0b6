// Trainings that wait, are cancelled, are asked for twice and are forgotten.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "server/training/training_manager.h"
#include "tests/training/training_manager_testing.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::CANCELLED;
using density::v1::QUEUED;
using density::v1::RUNNING;
using density::v1::SUCCEEDED;
using density::v1::Training;
using density::v1::TrainRequest;
using ::testing::HasSubstr;
using testing::Recorder;
using testing::RunToEnd;
using testing::SmallRequest;

TEST_F(TrainingManagerTest, ACancelledTrainingStopsAndStaysCancelled) {
  const auto started = Start("hang");
  started->recorder.WaitForStep();
  ASSERT_TRUE(manager().Cancel(started->id).ok());
  EXPECT_EQ(started->recorder.WaitForEnd().state(), CANCELLED);
  EXPECT_EQ(manager().Cancel(started->id).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrainingManagerTest, ACancellationThatCannotBeRecordedIsRefusedAndTheTrainingGoesOn) {
  const auto running = Start("hang");
  const auto waiting = Start("hang");
  running->recorder.WaitForStep();
  for (const std::string& id : {running->id, waiting->id}) {
    // A folder in the place of the file is an I/O error, as a failing disk gives.
    const std::string path = fixture_.TrainingFolder(id) + "/cancel";
    std::filesystem::create_directories(path + "/full");
    const absl::Status status = manager().Cancel(id).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("goes on"));
    std::filesystem::remove_all(path);
  }
  EXPECT_EQ(manager().Get(running->id)->state(), RUNNING);
  EXPECT_EQ(manager().Get(waiting->id)->state(), QUEUED);
  EXPECT_EQ(manager().Cancel(waiting->id)->state(), CANCELLED);
  ASSERT_TRUE(manager().Cancel(running->id).ok());
  EXPECT_EQ(running->recorder.WaitForEnd().state(), CANCELLED);
}

TEST_F(TrainingManagerTest, ACancelledTrainingCanBeCancelledAgainWhateverTheDiskSays) {
  fixture_.options.stop_grace = absl::Seconds(2);
  fixture_.Open();
  const auto started = Start("stubborn");
  started->recorder.WaitForStep();
  ASSERT_TRUE(manager().Cancel(started->id).ok());
  const std::string path = fixture_.TrainingFolder(started->id) + "/cancel";
  std::filesystem::remove(path);
  std::filesystem::create_directories(path + "/full");
  EXPECT_TRUE(manager().Cancel(started->id).ok());
}

TEST_F(TrainingManagerTest, NoMoreWaitThanMay) {
  fixture_.options.max_queued = 2;
  fixture_.Open();
  const auto running = Start("hang");
  running->recorder.WaitForStep();
  TrainRequest request = SmallRequest("publish");
  request.set_idempotency_key("key");
  const std::string first = manager().Start(request)->id();
  ASSERT_TRUE(manager().Start(SmallRequest("publish")).ok());
  const absl::Status refused = manager().Start(SmallRequest("publish")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--max-queued-trainings"));
  EXPECT_EQ(manager().List("").size(), 3);
  EXPECT_EQ(manager().Start(request)->id(), first) << "which is no new one";
  ASSERT_TRUE(manager().Cancel(first).ok());
  EXPECT_TRUE(manager().Start(SmallRequest("publish")).ok());
  ASSERT_TRUE(manager().Cancel(running->id).ok());
}

TEST_F(TrainingManagerTest, CancelledOnesThatNeverRanAreForgottenLikeOthers) {
  fixture_.options.keep_finished = 2;
  fixture_.Open();
  const auto running = Start("hang");
  running->recorder.WaitForStep();
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(manager().Start(SmallRequest("publish"))->id());
  for (const std::string& id : {ids[4], ids[3], ids[2], ids[1], ids[0]}) ASSERT_TRUE(manager().Cancel(id).ok());
  EXPECT_EQ(manager().List("").size(), 3) << "the two that were cancelled last, and the one that runs";
  EXPECT_TRUE(manager().Get(ids[0]).ok());
  EXPECT_TRUE(manager().Get(ids[1]).ok());
  EXPECT_EQ(FileSystem::Real().List(fixture_.root() + "/trainings")->size(), 3);
  ASSERT_TRUE(manager().Cancel(running->id).ok());
  running->recorder.WaitForEnd();
}

TEST_F(TrainingManagerTest, AProcessThatIgnoresTheRequestToStopIsKilled) {
  fixture_.options.stop_grace = absl::Milliseconds(20);
  fixture_.Open();
  const auto started = Start("stubborn");
  started->recorder.WaitForStep();
  ASSERT_TRUE(manager().Cancel(started->id).ok());
  EXPECT_EQ(started->recorder.WaitForEnd().state(), CANCELLED);
}

TEST_F(TrainingManagerTest, TrainingsWaitTheirTurnAndCanBeCancelledThere) {
  const auto first = Start("hang");
  const auto second = Start("publish");
  const auto third = Start("publish");
  first->recorder.WaitForStep();
  EXPECT_EQ(manager().Get(second->id)->state(), QUEUED);
  EXPECT_EQ(manager().Cancel(second->id)->state(), CANCELLED);
  ASSERT_TRUE(manager().Cancel(first->id).ok());
  EXPECT_EQ(third->recorder.WaitForEnd().state(), SUCCEEDED);
  EXPECT_FALSE(second->recorder.WaitForEnd().has_start_time());
}

TEST_F(TrainingManagerTest, ACancellationOutlivesTheServer) {
  const auto started = Start("suspend");
  started->recorder.WaitForStep();
  ASSERT_TRUE(fixture_.files().MakeFolders(fixture_.TrainingFolder(started->id)).ok());
  // What a server leaves that dies between noting the cancellation and telling the process.
  densityd::testing::WriteFile(fixture_.TrainingFolder(started->id) + "/cancel", "");
  fixture_.Close();
  fixture_.Open();
  EXPECT_EQ(manager().Get(started->id)->state(), CANCELLED);
}

TEST_F(TrainingManagerTest, OfTrainingsThatWaitTheHighestPriorityGoesFirst) {
  const auto first = Start("hang");
  first->recorder.WaitForStep();
  std::vector<std::string> ids;
  for (const int priority : {0, -1, 5, 5}) {
    TrainRequest request = SmallRequest("publish");
    request.set_priority(priority);
    ids.push_back(manager().Start(request)->id());
  }
  ASSERT_TRUE(manager().Cancel(first->id).ok());
  for (const std::string& id : ids) {
    Recorder recorder;
    const auto token = manager().Watch(id, recorder.watcher());
    recorder.WaitForEnd();
  }
  // Versions count in the order of publication.
  std::vector<uint64_t> versions;
  for (const std::string& id : ids) versions.push_back(manager().Get(id)->version());
  EXPECT_THAT(versions, ::testing::ElementsAre(3, 4, 1, 2));
  TrainRequest request = SmallRequest("publish");
  request.set_priority(101);
  EXPECT_EQ(testing::BadField(manager().Start(request).status()), "priority");
}

TEST_F(TrainingManagerTest, TheSameKeyAndRequestAreTheSameTraining) {
  TrainRequest request = SmallRequest("publish");
  request.set_idempotency_key("key 1");
  const std::string id = RunToEnd(manager(), request).id();
  EXPECT_EQ(manager().Start(request)->id(), id);
  EXPECT_EQ(manager().Start(request)->state(), SUCCEEDED);
  fixture_.Open();
  EXPECT_EQ(manager().Start(request)->id(), id);
  request.mutable_options()->set_seed(7);
  EXPECT_EQ(manager().Start(request).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(manager().List("").size(), 1);
  for (const std::string& key : {std::string(129, 'x'), std::string("a\n"), std::string("\xc3\xa4")}) {
    request.set_idempotency_key(key);
    EXPECT_EQ(testing::BadField(manager().Start(request).status()), "idempotency_key");
  }
}

TEST_F(TrainingManagerTest, AKeyThatComesTwiceAtOnceStartsOneTraining) {
  TrainRequest request = SmallRequest("publish");
  request.set_idempotency_key("key");
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_TRUE(manager().Start(request).ok()); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(manager().List("").size(), 1);
}

TEST_F(TrainingManagerTest, OnlyTheNewestEndedTrainingsAreRemembered) {
  fixture_.options.keep_finished = 2;
  fixture_.options.max_running = 2;
  fixture_.Open();
  const auto running = Start("hang");
  running->recorder.WaitForStep();
  TrainRequest request = SmallRequest("publish");
  request.set_idempotency_key("first");
  const std::string first = RunToEnd(manager(), request).id();
  for (int i = 0; i < 3; ++i) RunToEnd(manager(), SmallRequest("publish"));
  fixture_.Open();
  EXPECT_EQ(manager().List("").size(), 3);
  EXPECT_TRUE(absl::IsNotFound(manager().Get(first).status()));
  EXPECT_FALSE(*fixture_.files().Exists(fixture_.TrainingFolder(first)));
  EXPECT_TRUE(manager().Get(running->id).ok());
  // Its key is free again, its version stays.
  const Training again = RunToEnd(manager(), request);
  EXPECT_EQ(again.version(), 5);
}

}  // namespace
}  // namespace densityd::training
