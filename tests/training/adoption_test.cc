// Processes that outlive the server that started them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "server/base/posix.h"
#include "server/training/worker_lock.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::RUNNING;
using density::v1::SUCCEEDED;
using density::v1::Training;
using testing::ManagerFixture;
using testing::Recorder;
using testing::SmallRequest;

class AdoptionTest : public ::testing::Test {
 protected:
  // Starts a training in a server process that is killed as soon as the training has taken a step. Returns its id.
  // Called before this process has a manager, that is, threads.
  std::string StartAndKillServer(const std::string& script) {
    int ids[2];
    EXPECT_EQ(pipe(ids), 0);
    const pid_t server = fork();
    if (server == 0) {
      fixture_.Open();
      const std::string id = fixture_.manager().Start(SmallRequest(script))->id();
      Recorder recorder;
      const auto token = fixture_.manager().Watch(id, recorder.watcher());
      recorder.WaitForStep();
      [[maybe_unused]] const ssize_t written = write(ids[1], id.data(), id.size());
      for (;;) pause();
    }
    char id[256] = {};
    EXPECT_GT(read(ids[0], id, sizeof(id) - 1), 0);
    kill(server, SIGKILL);
    waitpid(server, nullptr, 0);
    close(ids[0]);
    close(ids[1]);
    return id;
  }

  pid_t WorkerOf(const std::string& id) {
    const auto worker = FindLiveWorker(fixture_.TrainingFolder(id));
    EXPECT_TRUE(worker.ok()) << worker.status();
    return worker.ok() && worker->has_value() ? (*worker)->pid : 0;
  }

  ManagerFixture fixture_{"fake_training_worker"};
};

TEST_F(AdoptionTest, AProcessThatOutlivedItsServerIsFollowedToItsEnd) {
  const std::string id = StartAndKillServer("wait");
  const pid_t worker = WorkerOf(id);
  ASSERT_GT(worker, 0);
  fixture_.Open();
  const Training adopted = *fixture_.manager().Get(id);
  EXPECT_EQ(adopted.state(), RUNNING);
  EXPECT_EQ(adopted.progress().step(), 1);
  EXPECT_EQ(WorkerOf(id), worker);
  Recorder recorder;
  const auto token = fixture_.manager().Watch(id, recorder.watcher());
  densityd::testing::WriteFile(fixture_.TrainingFolder(id) + "/go", "");
  const Training training = recorder.WaitForEnd();
  EXPECT_EQ(training.state(), SUCCEEDED) << training.error();
  EXPECT_EQ(training.resumes(), 0);
}

TEST_F(AdoptionTest, AnAdoptedProcessCanBeCancelled) {
  const std::string id = StartAndKillServer("hang");
  fixture_.Open();
  Recorder recorder;
  const auto token = fixture_.manager().Watch(id, recorder.watcher());
  ASSERT_TRUE(fixture_.manager().Cancel(id).ok());
  EXPECT_EQ(recorder.WaitForEnd().state(), density::v1::CANCELLED);
}

TEST_F(AdoptionTest, WhatEndedWhileNoServerWasThereIsFound) {
  const std::string id = StartAndKillServer("wait");
  const auto worker = FindLiveWorker(fixture_.TrainingFolder(id));
  ASSERT_TRUE(worker.ok() && worker->has_value());
  densityd::testing::WriteFile(fixture_.TrainingFolder(id) + "/go", "");
  testing::WaitUntilReadable((*worker)->ended.get());
  std::string published;
  fixture_.on_published = [&](const std::string& model, uint64_t version) {
    published = model + "@" + std::to_string(version);
    return absl::OkStatus();
  };
  fixture_.Open();
  EXPECT_EQ(fixture_.manager().Get(id)->state(), SUCCEEDED);
  EXPECT_EQ(published, "wait@1");
}

// A process that died with its server is a death: it goes on, but not for ever.
TEST_F(AdoptionTest, WhatDiedWithTheServerIsQueuedAgain) {
  const std::string id = StartAndKillServer("hang");
  const auto worker = FindLiveWorker(fixture_.TrainingFolder(id));
  ASSERT_TRUE(worker.ok() && worker->has_value());
  kill((*worker)->pid, SIGKILL);
  testing::WaitUntilReadable((*worker)->ended.get());
  fixture_.options.max_running = 0;
  fixture_.Open();
  const Training queued = *fixture_.manager().Get(id);
  EXPECT_EQ(queued.state(), density::v1::QUEUED);
  EXPECT_THAT(queued.interruption(),
              ::testing::HasSubstr("was gone when the server came back; it was at step 1 of 10"));
  // A restart alone is no death.
  fixture_.Open();
  fixture_.Open();
  EXPECT_EQ(fixture_.manager().Get(id)->state(), density::v1::QUEUED);
  fixture_.options.max_deaths = 1;
  fixture_.Open();
  EXPECT_EQ(fixture_.manager().Get(id)->state(), density::v1::QUEUED);
}

TEST(WorkerLockTest, TheHolderIsFoundAndNobodyElseGetsTheLock) {
  densityd::testing::TempFolder folder;
  EXPECT_FALSE(FindLiveWorker(folder.path())->has_value());
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t holder = fork();
  if (holder == 0) {
    const auto lock = WorkerLock::TryAcquire(folder.path());
    [[maybe_unused]] const ssize_t written = write(ready[1], lock.ok() && lock->has_value() ? "y" : "n", 1);
    for (;;) pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  auto found = FindLiveWorker(folder.path());
  ASSERT_TRUE(found.ok() && found->has_value()) << found.status();
  EXPECT_EQ((*found)->pid, holder);
  EXPECT_FALSE(WorkerLock::TryAcquire(folder.path())->has_value());
  kill(holder, SIGKILL);
  testing::WaitUntilReadable((*found)->ended.get());
  waitpid(holder, nullptr, 0);
  EXPECT_FALSE(FindLiveWorker(folder.path())->has_value());
  EXPECT_TRUE(WorkerLock::TryAcquire(folder.path())->has_value());
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace densityd::training
