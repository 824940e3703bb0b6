#include "server/registry/model_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/registry/model_manager_fixture.h"

namespace densityd::registry {
namespace {

using absl::StatusCode;
using density::v1::VersionInfo;
using ::testing::ElementsAre;
using testing::FakeServable;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kVersionBytes;
using testing::ModelManagerTest;

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

TEST_F(ModelManagerTest, ARestartServesWhatWasServedWhereTheNewestVersionFails) {
  Start();
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Train("power", i).ok());
  const std::string third = folder_.Path("models/power/3/weights.safetensors");
  const std::string good = densityd::testing::ReadFile(third);
  for (int version : {2, 3}) {
    const std::string folder = absl::StrCat("models/power/", version);
    densityd::testing::WriteFile(folder_.Path(folder + "/weights.safetensors"), "damaged");
  }
  Start();
  manager_->LoadAll();
  EXPECT_EQ(Mark("power"), 1);
  EXPECT_EQ(Mark("power@latest"), 1);
  EXPECT_EQ(manager_->List()->front().aliases().versions().at("latest"), 1u) << "and says so";
  EXPECT_EQ(AcquireCode("power@3"), StatusCode::kDataLoss);
  ASSERT_TRUE(manager_->ReloadFromDisk("", /*retry_failed=*/false).ok());
  EXPECT_EQ(Mark("power"), 1) << "the next look leaves it";
  densityd::testing::WriteFile(third, good);
  ASSERT_TRUE(manager_->ReloadFromDisk("", /*retry_failed=*/true).ok());
  EXPECT_EQ(Mark("power"), 3);
}

TEST_F(ModelManagerTest, AnAliasThatWasSetIsNeverLedElsewhereByARestart) {
  Start();
  for (int i = 1; i <= 2; ++i) ASSERT_TRUE(Train("power", i).ok());
  ASSERT_TRUE(SetAlias("power", "latest", 2).ok());
  ASSERT_TRUE(SetAlias("power", "stable", 2).ok());
  densityd::testing::WriteFile(folder_.Path("models/power/2/weights.safetensors"), "damaged");
  Start();
  manager_->LoadAll();
  EXPECT_EQ(AcquireCode("power"), StatusCode::kDataLoss);
  EXPECT_EQ(AcquireCode("power@stable"), StatusCode::kDataLoss);
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

}  // namespace
}  // namespace densityd::registry
