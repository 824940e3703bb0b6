#include "server/registry/model_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/base/temp_folder.h"
#include "tests/registry/fake_servable.h"
#include "tests/registry/sample_version.h"

namespace densityd::registry {
namespace {

using absl::StatusCode;
using density::v1::VersionInfo;
using densityd::testing::TempFolder;
using ::testing::ElementsAre;
using testing::FakeLoader;
using testing::FakeServable;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::OpenStore;
using testing::SampleManifest;
using testing::SampleTensors;

constexpr size_t kVersionBytes = 10'000;

class ModelManagerTest : public ::testing::Test {
 protected:
  /// Room for `versions` versions.
  void Start(size_t versions = 100) {
    manager_ = std::make_unique<ModelManager>(
        store_, loader_.AsLoader(), versions * kVersionBytes, ModelEvents{[this](const VersionInfo& info) {
          absl::MutexLock lock(&mutex_);
          events_.push_back(
              absl::StrCat(info.name(), "@", info.version(), " ", density::v1::VersionState_Name(info.state())));
        }});
  }
  uint64_t Publish(const std::string& name, double mark = 1) {
    const auto version = store_.Publish(name, SampleManifest(mark), SampleTensors(mark));
    EXPECT_TRUE(version.ok()) << version.status();
    return version.value_or(0);
  }
  /// Publishes and tells the manager.
  absl::Status Train(const std::string& name, double mark = 1) {
    return manager_->OnPublished(name, Publish(name, mark));
  }
  StatusCode AcquireCode(std::string_view reference) { return manager_->Acquire(reference).status().code(); }
  double Mark(std::string_view reference) {
    const auto handle = manager_->Acquire(reference);
    EXPECT_TRUE(handle.ok()) << handle.status();
    return handle.ok() ? static_cast<const FakeServable&>(*handle->servable).mark() : -1;
  }
  density::v1::VersionState State(const std::string& reference) {
    const auto detail = manager_->Get(reference);
    EXPECT_TRUE(detail.ok()) << detail.status();
    return detail.ok() ? detail->info().state() : density::v1::VERSION_STATE_UNSPECIFIED;
  }
  std::vector<std::string> Events() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(events_, {});
  }
  absl::StatusOr<density::v1::Aliases> SetAlias(const std::string& name, const std::string& alias, uint64_t version) {
    density::v1::SetAliasRequest request;
    request.set_name(name);
    request.set_alias(alias);
    request.set_version(version);
    return manager_->SetAlias(request);
  }

  TempFolder folder_;
  ModelStore store_ = OpenStore(FileSystem::Real(), folder_.path());
  FakeLoader loader_{kVersionBytes};
  absl::Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ModelManager> manager_;
};

TEST_F(ModelManagerTest, EveryAliasedVersionIsServedAfterARestart) {
  for (int i = 1; i <= 3; ++i) Publish("power", i);
  Publish("gas", 7);
  ASSERT_TRUE(store_.SetAlias("power", "stable", 1, {}).ok());
  Start();
  manager_->LoadAll();
  EXPECT_EQ(Mark("power"), 3);
  EXPECT_EQ(Mark("power@latest"), 3);
  EXPECT_EQ(Mark("power@3"), 3);
  EXPECT_EQ(Mark("power@stable"), 1);
  EXPECT_EQ(Mark("gas"), 7);
  EXPECT_EQ(AcquireCode("power@2"), StatusCode::kFailedPrecondition) << "nobody names it";
  EXPECT_EQ(loader_.loads(), 3);
}

TEST_F(ModelManagerTest, WhatCannotBeAcquiredSaysWhy) {
  Start();
  ASSERT_TRUE(Train("power").ok());
  EXPECT_EQ(AcquireCode("gas"), StatusCode::kNotFound);
  EXPECT_EQ(AcquireCode("power@2"), StatusCode::kNotFound);
  EXPECT_EQ(AcquireCode("power@stable"), StatusCode::kNotFound);
  EXPECT_EQ(AcquireCode("../power"), StatusCode::kInvalidArgument);
  ASSERT_TRUE(manager_->Unload("power").ok());
  const absl::Status status = manager_->Acquire("power").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("power@1 is not loaded; load it first"));
}

TEST_F(ModelManagerTest, ADamagedVersionIsReportedAndTheOthersAreServed) {
  Publish("gas", 7);
  Publish("power", 1);
  Publish("power", 2);
  densityd::testing::WriteFile(folder_.Path("models/power/2/weights.safetensors"), "damaged");
  std::filesystem::remove_all(folder_.Path("models/power/1/manifest.json"));
  Start();
  manager_->LoadAll();
  EXPECT_EQ(Mark("gas"), 7);
  const absl::Status status = manager_->Acquire("power").status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("models/power/2/weights.safetensors"));
  EXPECT_EQ(AcquireCode("power@1"), StatusCode::kDataLoss);
  const auto models = manager_->List();
  ASSERT_TRUE(models.ok());
  ASSERT_EQ(models->size(), 2u);
  for (const VersionInfo& info : (*models)[1].versions()) {
    EXPECT_EQ(info.state(), density::v1::LOAD_FAILED);
    EXPECT_EQ(info.error_code(), static_cast<int>(StatusCode::kDataLoss));
    EXPECT_THAT(info.error(), HasSubstr(absl::StrCat("models/power/", info.version())));
  }
  EXPECT_EQ(manager_->Load("power").status().code(), StatusCode::kDataLoss);
}

TEST_F(ModelManagerTest, DamagedAliasesLeaveNumberedVersionsServable) {
  Publish("power", 1);
  densityd::testing::WriteFile(folder_.Path("models/power/aliases.json"), "damaged");
  Start();
  manager_->LoadAll();
  EXPECT_EQ(AcquireCode("power"), StatusCode::kDataLoss);
  EXPECT_EQ(AcquireCode("power@1"), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(manager_->Load("power@1").ok());
  EXPECT_EQ(Mark("power@1"), 1);
}

TEST_F(ModelManagerTest, APublishedVersionIsServedAndTheOldOneStaysThere) {
  Start();
  ASSERT_TRUE(Train("power", 1).ok());
  EXPECT_EQ(Mark("power"), 1);
  ASSERT_TRUE(Train("power", 2).ok());
  EXPECT_EQ(Mark("power"), 2);
  EXPECT_EQ(Mark("power@1"), 1);
}

TEST_F(ModelManagerTest, PublishingLeavesALatestThatWasSet) {
  Start();
  ASSERT_TRUE(Train("power", 1).ok());
  ASSERT_TRUE(SetAlias("power", "latest", 1).ok());
  ASSERT_TRUE(Train("power", 2).ok());
  EXPECT_EQ(Mark("power"), 1);
}

TEST_F(ModelManagerTest, AHandleKeepsItsVersionThroughUnload) {
  Start();
  ASSERT_TRUE(Train("power", 5).ok());
  auto handle = manager_->Acquire("power");
  ASSERT_TRUE(handle.ok());
  auto info = manager_->Unload("power");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->state(), density::v1::UNLOADING);
  EXPECT_EQ(AcquireCode("power"), StatusCode::kFailedPrecondition);
  EXPECT_EQ(static_cast<const FakeServable&>(*handle->servable).mark(), 5);
  EXPECT_EQ(loader_.alive(), 1);
  EXPECT_EQ(manager_->Delete("power", 1).code(), StatusCode::kFailedPrecondition) << "a call is in flight";
  handle = absl::CancelledError();
  EXPECT_EQ(manager_->Unload("power")->state(), density::v1::NOT_LOADED);
  EXPECT_EQ(loader_.alive(), 0);
}

TEST_F(ModelManagerTest, UnloadingWithoutCallsInFlightFreesTheMemoryBeforeItReturns) {
  Start();
  ASSERT_TRUE(Train("power").ok());
  for (int cycle = 0; cycle < 20; ++cycle) {
    EXPECT_EQ(manager_->Unload("power")->state(), density::v1::NOT_LOADED);
    EXPECT_EQ(loader_.alive(), 0);
    const auto loaded = manager_->Load("power");
    ASSERT_TRUE(loaded.ok());
    EXPECT_EQ(loaded->state(), density::v1::READY);
    EXPECT_EQ(loaded->memory_bytes(), kVersionBytes);
    EXPECT_EQ(loaded->plan(), "fake");
  }
}

TEST_F(ModelManagerTest, AVersionThatIsLoadedAgainBeforeItsLastHandleGoesIsNotReadAgain) {
  Start();
  ASSERT_TRUE(Train("power").ok());
  const auto handle = manager_->Acquire("power");
  ASSERT_TRUE(manager_->Unload("power").ok());
  ASSERT_TRUE(manager_->Load("power").ok());
  EXPECT_EQ(manager_->Acquire("power")->servable, handle->servable);
  EXPECT_EQ(loader_.loads(), 1);
}

TEST_F(ModelManagerTest, HandlesOutliveTheManager) {
  Start();
  ASSERT_TRUE(Train("power", 5).ok());
  auto handle = manager_->Acquire("power");
  manager_.reset();
  EXPECT_EQ(static_cast<const FakeServable&>(*handle->servable).mark(), 5);
  handle = absl::CancelledError();
  EXPECT_EQ(loader_.alive(), 0);
}

TEST_F(ModelManagerTest, LoadingBlocksNeitherAcquireNorUnloadNorList) {
  Start();
  ASSERT_TRUE(Train("power", 1).ok());
  ASSERT_TRUE(Train("gas", 1).ok());
  const uint64_t next = Publish("power", 2);
  loader_.Hold();
  std::thread loading([&] { EXPECT_TRUE(manager_->OnPublished("power", next).ok()); });
  loader_.AwaitLoading();
  EXPECT_EQ(Mark("power"), 1) << "the old version answers until the new one can";
  const absl::Status status = manager_->Acquire("power@2").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("still loading"));
  EXPECT_EQ(State("power@2"), density::v1::LOADING);
  EXPECT_EQ(manager_->List()->size(), 2u);
  EXPECT_EQ(manager_->Unload("power@2").status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(manager_->Unload("gas").ok());
  loader_.Release();
  loading.join();
  EXPECT_EQ(Mark("power"), 2);
}

TEST_F(ModelManagerTest, LoadingWhatIsLoadedAndUnloadingWhatIsNotIsFine) {
  Start();
  ASSERT_TRUE(Train("power").ok());
  EXPECT_TRUE(manager_->Load("power@1").ok());
  EXPECT_EQ(loader_.loads(), 1);
  EXPECT_TRUE(manager_->Unload("power").ok());
  EXPECT_TRUE(manager_->Unload("power").ok());
  EXPECT_EQ(manager_->Load("power@9").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(manager_->Unload("power@9").status().code(), StatusCode::kNotFound);
}

TEST_F(ModelManagerTest, AFailedLoadCanBeRepeated) {
  Start();
  loader_.Fail(absl::UnavailableError("the device is gone"));
  EXPECT_EQ(Train("power", 4).code(), StatusCode::kUnavailable);
  const absl::Status status = manager_->Acquire("power@1").status();
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("the device is gone"));
  loader_.Fail(absl::OkStatus());
  ASSERT_TRUE(manager_->Load("power").ok());
  EXPECT_EQ(Mark("power"), 4);
}

TEST_F(ModelManagerTest, AVersionThatCannotBeLoadedLeavesTheOldOneServing) {
  Start();
  ASSERT_TRUE(Train("power", 1).ok());
  loader_.Fail(absl::UnavailableError("the device is gone"));
  EXPECT_FALSE(Train("power", 2).ok());
  EXPECT_EQ(Mark("power"), 1);
  EXPECT_FALSE(SetAlias("power", "stable", 2).ok());
  EXPECT_EQ(store_.ReadAliases("power")->versions().count("stable"), 0u) << "the alias was not moved";
}

TEST_F(ModelManagerTest, WhatNobodyNamesMakesRoomOldestFirst) {
  Start(/*versions=*/3);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  ASSERT_TRUE(Train("power", 4).ok());
  EXPECT_EQ(State("power@1"), density::v1::NOT_LOADED);
  EXPECT_EQ(Mark("power@2"), 2);
  EXPECT_EQ(Mark("power"), 4);
  EXPECT_EQ(loader_.alive(), 3);
}

TEST_F(ModelManagerTest, ALoadWaitsForCallsThatHoldWhatMakesRoomAndUnloadsNoMoreThanItNeeds) {
  Start(/*versions=*/3);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  auto handle = manager_->Acquire("power@1");
  const uint64_t next = Publish("power", 4);
  std::thread loading([&] { EXPECT_TRUE(manager_->OnPublished("power", next).ok()); });
  while (State("power@1") == density::v1::READY) std::this_thread::yield();
  handle = absl::CancelledError();
  loading.join();
  EXPECT_EQ(Mark("power"), 4);
  EXPECT_EQ(Mark("power@2"), 2);
}

TEST_F(ModelManagerTest, WhatIsNamedOrLoadedByHandMakesNoRoom) {
  Start(/*versions=*/3);
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  ASSERT_TRUE(SetAlias("power", "stable", 1).ok());
  ASSERT_TRUE(manager_->Load("power@2").ok());
  const absl::Status status = Train("power", 4);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("30000 of 30000"));
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(Mark(absl::StrCat("power@", i)), i);
  ASSERT_TRUE(manager_->Unload("power@2").ok());
  EXPECT_TRUE(manager_->Load("power@4").ok());
}

TEST_F(ModelManagerTest, AVersionLargerThanAllMemoryIsRefusedAndEvictsNothing) {
  Start(/*versions=*/1);
  ASSERT_TRUE(Train("power", 1).ok());
  const auto refused = std::make_unique<ModelManager>(store_, loader_.AsLoader(), 10, ModelEvents{});
  EXPECT_EQ(refused->Load("power").status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Mark("power"), 1);
}

TEST_F(ModelManagerTest, NothingIsUnloadedWhereItWouldNotBeEnough) {
  Start(/*versions=*/2);
  ASSERT_TRUE(Train("gas", 1).ok());
  ASSERT_TRUE(Train("gas", 2).ok());
  EXPECT_TRUE(Train("gas", 3).ok()) << "the first makes room";
  EXPECT_EQ(AcquireCode("gas@1"), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(SetAlias("gas", "stable", 2).ok());
  EXPECT_EQ(Train("power", 1).code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Mark("gas@2"), 2);
  EXPECT_EQ(Mark("gas@3"), 3);
}

TEST_F(ModelManagerTest, OnlyUnloadedUnnamedVersionsAreDeleted) {
  Start();
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  EXPECT_EQ(manager_->Delete("power", 9).code(), StatusCode::kNotFound);
  EXPECT_EQ(manager_->Delete("power", 3).code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(SetAlias("power", "stable", 1).ok());
  ASSERT_TRUE(manager_->Unload("power@1").ok());
  EXPECT_EQ(manager_->Delete("power", 1).code(), StatusCode::kFailedPrecondition) << "an alias names it";
  ASSERT_TRUE(manager_->Unload("power@3").ok());
  ASSERT_TRUE(manager_->Delete("power", 3).ok());
  EXPECT_EQ(AcquireCode("power@3"), StatusCode::kNotFound);
  EXPECT_EQ(Mark("power"), 2) << "latest is the newest that is left";
}

TEST_F(ModelManagerTest, TheLastVersionTakesItsModelAlong) {
  Start();
  ASSERT_TRUE(Train("power").ok());
  ASSERT_TRUE(manager_->Unload("power").ok());
  ASSERT_TRUE(manager_->Delete("power", 1).ok());
  EXPECT_THAT(*manager_->List(), IsEmpty());
  EXPECT_EQ(AcquireCode("power"), StatusCode::kNotFound);
}

TEST_F(ModelManagerTest, AnAliasMovesOnlyToAVersionThatAnswers) {
  Start();
  ASSERT_TRUE(Train("power", 1).ok());
  ASSERT_TRUE(Train("power", 2).ok());
  ASSERT_TRUE(SetAlias("power", "stable", 2).ok());
  ASSERT_TRUE(manager_->Unload("power@1").ok());
  ASSERT_TRUE(SetAlias("power", "stable", 1).ok());
  EXPECT_EQ(Mark("power@stable"), 1);
  density::v1::DeleteAliasRequest request;
  request.set_name("power");
  request.set_alias("stable");
  ASSERT_TRUE(manager_->DeleteAlias(request).ok());
  EXPECT_EQ(AcquireCode("power@stable"), StatusCode::kNotFound);
  EXPECT_EQ(manager_->DeleteAlias(request).status().code(), StatusCode::kNotFound);
}

TEST_F(ModelManagerTest, GetTellsEverything) {
  Start();
  ASSERT_TRUE(Train("power", 3).ok());
  const auto detail = manager_->Get("power");
  ASSERT_TRUE(detail.ok()) << detail.status();
  EXPECT_EQ(detail->info().name(), "power");
  EXPECT_EQ(detail->info().version(), 1u);
  EXPECT_EQ(detail->info().features(), 2u);
  EXPECT_EQ(detail->info().stored_bytes(), store_.StoredBytes("power", 1).value());
  EXPECT_EQ(detail->info().create_time().seconds(), detail->manifest().create_time().seconds());
  EXPECT_EQ(detail->manifest().spec().features(), 2u);
}

TEST_F(ModelManagerTest, EventsTellTheStatesInOrder) {
  Start();
  ASSERT_TRUE(Train("power").ok());
  EXPECT_THAT(Events(), ElementsAre("power@1 NOT_LOADED", "power@1 LOADING", "power@1 READY", "power@1 READY"))
      << "the last one: latest leads to it";
  ASSERT_TRUE(manager_->Unload("power").ok());
  EXPECT_THAT(Events(), ElementsAre("power@1 UNLOADING", "power@1 NOT_LOADED"));
}

TEST_F(ModelManagerTest, AListenerMayAskAndChange) {
  Publish("power");
  ModelManager* asked = nullptr;
  std::atomic<int> ready = 0;
  ModelManager manager(store_, loader_.AsLoader(), 1'000'000, ModelEvents{[&](const VersionInfo& info) {
                         if (info.state() != density::v1::READY) return;
                         EXPECT_TRUE(asked->Acquire("power@1").ok());
                         EXPECT_TRUE(asked->Load("power@1").ok());
                         ++ready;
                       }});
  asked = &manager;
  manager.LoadAll();
  EXPECT_GE(ready, 1);
}

TEST_F(ModelManagerTest, ReadersNeverSeeAGapOrAWrongVersionWhileVersionsComeAndGo) {
  Start(/*versions=*/4);
  ASSERT_TRUE(Train("power", 1).ok());
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      double last = 0;
      while (!stop) {
        const auto handle = manager_->Acquire("power");
        ASSERT_TRUE(handle.ok()) << handle.status();
        const double mark = static_cast<const FakeServable&>(*handle->servable).mark();
        ASSERT_EQ(mark, static_cast<double>(handle->version));
        ASSERT_GE(mark, last) << "latest never goes back";
        last = mark;
      }
    });
  }
  for (int version = 2; version <= 40; ++version) {
    EXPECT_TRUE(Train("power", version).ok());
    if (version % 3 != 0) continue;
    EXPECT_TRUE(manager_->Unload(absl::StrCat("power@", version - 1)).ok());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_LE(loader_.alive(), 4);
}

TEST_F(ModelManagerTest, ConcurrentLoadsAndUnloadsKeepTheBooks) {
  Start(/*versions=*/2);
  for (int i = 1; i <= 4; ++i) Publish("power", i);
  manager_->LoadAll();
  std::vector<std::thread> threads;
  for (int i = 1; i <= 4; ++i) {
    threads.emplace_back([this, i] {
      const std::string reference = absl::StrCat("power@", i);
      for (int round = 0; round < 50; ++round) {
        const auto loaded = manager_->Load(reference);
        EXPECT_TRUE(loaded.ok() || absl::IsResourceExhausted(loaded.status())) << loaded.status();
        if (const auto handle = manager_->Acquire(reference); handle.ok()) {
          EXPECT_EQ(static_cast<const FakeServable&>(*handle->servable).mark(), i);
        }
        const auto unloaded = manager_->Unload(reference);
        EXPECT_TRUE(unloaded.ok()) << unloaded.status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(manager_->Unload(absl::StrCat("power@", i))->memory_bytes(), 0u);
  }
  EXPECT_EQ(loader_.alive(), 0);
  EXPECT_TRUE(manager_->Load("power@1").ok()) << "all memory was given back";
  EXPECT_TRUE(manager_->Load("power@2").ok());
}

}  // namespace
}  // namespace densityd::registry
