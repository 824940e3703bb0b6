// What a manager takes up of what others did to its store, and archives that it takes in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/registry/root_poll.h"
#include "tests/registry/model_manager_fixture.h"

namespace densityd::registry::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class DiskTest : public ModelManagerTest {
 protected:
  DiskTest() {
    Start();
    EXPECT_TRUE(Train("power").ok());
  }
  density::v1::ReloadFromDiskResponse Reload(const std::string& name = "", bool retry_failed = true) {
    auto changes = manager_->ReloadFromDisk(name, retry_failed);
    EXPECT_TRUE(changes.ok()) << changes.status();
    return changes.ok() ? *changes : density::v1::ReloadFromDiskResponse();
  }
};

TEST_F(DiskTest, FindsWhatAnotherProcessPublished) {
  Publish("power", 2);
  Publish("gas", 3);
  EXPECT_EQ(Mark("power"), 1) << "not yet";
  const auto changes = Reload();
  EXPECT_THAT(changes.added(), UnorderedElementsAre("power@2", "gas@1"));
  EXPECT_THAT(changes.moved(), UnorderedElementsAre("power@latest", "gas@latest"));
  EXPECT_THAT(changes.removed(), IsEmpty());
  EXPECT_EQ(Mark("power"), 2);
  EXPECT_EQ(Mark("gas"), 3);
  const auto again = Reload();
  EXPECT_EQ(again.added_size() + again.removed_size() + again.moved_size(), 0);
}

TEST_F(DiskTest, LooksAtOneModelAlone) {
  Publish("gas", 3);
  Publish("water", 4);
  EXPECT_THAT(Reload("gas").added(), ElementsAre("gas@1"));
  EXPECT_EQ(AcquireCode("water"), StatusCode::kNotFound);
  EXPECT_EQ(manager_->ReloadFromDisk("absent", true).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(manager_->ReloadFromDisk("../x", true).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(DiskTest, FollowsAliasesThatAnotherProcessMoved) {
  Publish("power", 2);
  ASSERT_TRUE(store_.SetAlias("power", "stable", 1, {}).ok());
  Reload();
  EXPECT_EQ(Mark("power@stable"), 1);
  ASSERT_TRUE(store_.SetAlias("power", "stable", 2, {}).ok());
  EXPECT_THAT(Reload().moved(), ElementsAre("power@stable"));
  EXPECT_EQ(Mark("power@stable"), 2);
}

TEST_F(DiskTest, UnloadsWhatAnotherProcessDeleted) {
  Publish("power", 2);
  Reload();
  const auto held = manager_->Acquire("power@1");
  ASSERT_TRUE(store_.Delete("power", 1).ok());
  EXPECT_THAT(Reload().removed(), ElementsAre("power@1"));
  EXPECT_FALSE(manager_->Acquire("power@1").ok());
  EXPECT_EQ(static_cast<const FakeServable&>(*held->servable).mark(), 1) << "calls in flight finish";
  ASSERT_TRUE(store_.Delete("power", 2).ok());
  Reload();
  EXPECT_EQ(AcquireCode("power"), StatusCode::kNotFound);
}

TEST_F(DiskTest, StaysWithTheOldVersionWhereTheNewOneCannotBeLoaded) {
  Publish("power", 2);
  densityd::testing::WriteFile(folder_.Path("models/power/2/weights.safetensors"), "damaged");
  EXPECT_THAT(Reload().moved(), IsEmpty());
  EXPECT_EQ(Mark("power"), 1);
  EXPECT_EQ(AcquireCode("power@2"), StatusCode::kDataLoss);
  const std::string told(manager_->Acquire("power@2").status().message());
  EXPECT_THAT(told, HasSubstr("models/power/2/weights.safetensors"));
  EXPECT_THAT(told, ::testing::Not(HasSubstr(folder_.path())));
}

TEST_F(DiskTest, ThePollDoesNotTryAgainWhatFailed) {
  Publish("power", 2);
  const std::string weights = folder_.Path("models/power/2/weights.safetensors");
  const std::string good = densityd::testing::ReadFile(weights);
  densityd::testing::WriteFile(weights, "damaged");
  Reload("", /*retry_failed=*/false);
  densityd::testing::WriteFile(weights, good);
  Reload("", /*retry_failed=*/false);
  EXPECT_EQ(Mark("power"), 1);
  Reload("", /*retry_failed=*/true);
  EXPECT_EQ(Mark("power"), 2);
}

TEST_F(DiskTest, ThePollFindsThingsByItself) {
  const RootPoll poll(*manager_, absl::Milliseconds(1));
  Publish("power", 2);
  const absl::Time end = absl::Now() + absl::Seconds(30);
  while (Mark("power") != 2 && absl::Now() < end) std::this_thread::yield();
  EXPECT_EQ(Mark("power"), 2);
}

TEST_F(DiskTest, AModelThatCannotBeReadHidesNoOther) {
  Publish("gas", 2);
  Publish("water", 3);
  Reload();
  const std::string gas = folder_.Path("models/gas");
  std::filesystem::rename(gas, folder_.Path("tmp/gas"));
  std::filesystem::create_symlink("gas", gas);  // a loop: an I/O error, as a failing disk gives
  Publish("power", 4);
  Publish("water", 5);
  const auto changes = Reload("", /*retry_failed=*/false);
  EXPECT_THAT(changes.added(), UnorderedElementsAre("power@2", "water@2")) << "before and behind it";
  EXPECT_THAT(changes.removed(), IsEmpty());
  ASSERT_EQ(changes.failed_size(), 1);
  EXPECT_EQ(changes.failed(0).model(), "gas");
  EXPECT_EQ(changes.failed(0).error_code(), static_cast<int>(StatusCode::kUnavailable));
  EXPECT_THAT(changes.failed(0).error(), HasSubstr("models/gas"));
  EXPECT_THAT(changes.failed(0).error(), ::testing::Not(HasSubstr(folder_.path())));
  EXPECT_EQ(Mark("power"), 4);
  EXPECT_EQ(Mark("water"), 5);
  EXPECT_EQ(Mark("gas"), 2) << "what is loaded answers";
  EXPECT_EQ(manager_->ReloadFromDisk("gas", true).status().code(), StatusCode::kUnavailable);
  Start();
  manager_->LoadAll();
  EXPECT_EQ(Mark("power"), 4) << "after a restart, too";
  EXPECT_EQ(Mark("water"), 5);
  std::filesystem::remove(gas);
  std::filesystem::rename(folder_.Path("tmp/gas"), gas);
  EXPECT_THAT(Reload("", /*retry_failed=*/false).failed(), IsEmpty());
  EXPECT_EQ(Mark("gas"), 2);
}

TEST_F(DiskTest, AFirstLookAtAModelFallsBackAsAStartDoes) {
  Publish("gas", 2);
  Publish("gas", 3);
  densityd::testing::WriteFile(folder_.Path("models/gas/2/weights.safetensors"), "damaged");
  Reload("", /*retry_failed=*/false);
  EXPECT_EQ(Mark("gas"), 2);
  ASSERT_TRUE(manager_->Unload("gas@1").ok());
  Reload("", /*retry_failed=*/false);
  EXPECT_EQ(State("gas@1"), density::v1::NOT_LOADED) << "by hand: no later look undoes that";
}

TEST_F(DiskTest, TwoManagersOfOneRootPublishBesideEachOtherAndSeeItAll) {
  ModelStore other_store = OpenStore(FileSystem::Real(), folder_.path(), /*clean_tmp=*/false);
  FakeLoader other_loader{kVersionBytes};
  ModelManager other(other_store, other_loader.AsLoader(), 100 * kVersionBytes, {});
  other.LoadAll();
  constexpr int kEach = 10;
  const auto publish = [&](ModelStore& store, ModelManager& manager) {
    for (int i = 0; i < kEach; ++i) {
      const auto version = store.Publish("power", SampleManifest(), SampleTensors());
      ASSERT_TRUE(version.ok()) << version.status();
      ASSERT_TRUE(manager.OnPublished("power", *version).ok());
    }
  };
  std::thread first([&] { publish(store_, *manager_); });
  std::thread second([&] { publish(other_store, other); });
  first.join();
  second.join();
  EXPECT_EQ(store_.Versions("power")->size(), 1 + 2 * kEach) << "no number was given twice";
  ASSERT_TRUE(manager_->ReloadFromDisk("", true).ok());
  ASSERT_TRUE(other.ReloadFromDisk("", true).ok());
  for (ModelManager* manager : {manager_.get(), &other}) {
    EXPECT_EQ(manager->Acquire("power")->version, 1 + 2 * kEach);
    EXPECT_EQ(manager->List()->front().versions_size(), 1 + 2 * kEach);
  }
}

TEST_F(ModelManagerTest, PollingLeavesAloneWhatWasUnloadedByHand) {
  Start();
  ASSERT_TRUE(Train("power").ok());
  ASSERT_TRUE(manager_->Unload("power@1").ok());
  ASSERT_TRUE(manager_->ReloadFromDisk("", /*retry_failed=*/false).ok());
  EXPECT_EQ(State("power@1"), density::v1::NOT_LOADED);
  // Another process makes the alias name a version that was not there: that one is loaded.
  Publish("power", 2);
  ASSERT_TRUE(manager_->ReloadFromDisk("", /*retry_failed=*/false).ok());
  EXPECT_EQ(State("power@1"), density::v1::NOT_LOADED);
  EXPECT_EQ(State("power@2"), density::v1::READY);
  ASSERT_TRUE(manager_->Unload("power@2").ok());
  ASSERT_TRUE(manager_->ReloadFromDisk("", /*retry_failed=*/true).ok());
  EXPECT_EQ(State("power@2"), density::v1::READY) << "whoever asks for it gets it";
}

class ImportTest : public DiskTest {
 protected:
  std::string Archive(const std::string& reference) {
    auto source = manager_->Export(reference);
    EXPECT_TRUE(source.ok()) << source.status();
    std::string archive;
    while (true) {
      const auto piece = source->Next(1 << 20);
      EXPECT_TRUE(piece.ok()) << piece.status();
      if (!piece.ok() || piece->empty()) return archive;
      archive += *piece;
    }
  }
  absl::StatusOr<VersionInfo> Import(const std::string& archive, const std::string& name) {
    auto import = manager_->BeginImport(1 << 20);
    if (!import.ok()) return import.status();
    if (auto status = (*import)->Append(archive); !status.ok()) return status;
    if (auto status = (*import)->Finish(); !status.ok()) return status;
    return manager_->Import(**import, name);
  }
};

TEST_F(ImportTest, PublishesLoadsAndAnswers) {
  const auto imported = Import(Archive("power@latest"), "gas");
  ASSERT_TRUE(imported.ok()) << imported.status();
  EXPECT_EQ(imported->state(), density::v1::READY);
  EXPECT_EQ(imported->version(), 1);
  EXPECT_EQ(Mark("gas"), Mark("power"));
  EXPECT_EQ(Import(Archive("power"), "power")->version(), 2);
  EXPECT_GE(loader_.niceness(), 10) << "loading gives way to those that answer requests";
}

TEST_F(ImportTest, OfWhatCannotBeLoadedPublishesNothing) {
  const std::string archive = Archive("power");
  loader_.Fail(absl::InternalError("no such layer"));
  const auto refused = Import(archive, "gas");
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("no such layer"));
  EXPECT_EQ(store_.Versions("gas").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace densityd::registry::testing
