// Which versions go when new ones are published, and that no others do: whatever stops, fails, or runs beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/base/faulty_file_system.h"
#include "tests/registry/model_manager_fixture.h"

namespace densityd::registry::testing {
namespace {

using densityd::testing::FaultyFileSystem;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;

/// What was asked for by number may go at once.
constexpr Retention kKeepTwo = {.keep = 2, .grace = absl::ZeroDuration()};

class RetentionTest : public ModelManagerTest {
 protected:
  RetentionTest() { Start(100, kKeepTwo); }

  void TrainTimes(int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(Train("power", i).ok());
  }
  std::vector<uint64_t> Stored() { return store_.Versions("power").value(); }
  /// Looks at the disk, as the poll does.
  void Reload() { EXPECT_TRUE(manager_->ReloadFromDisk("power", /*retry_failed=*/false).ok()); }
};

TEST_F(RetentionTest, TheNewestStayOnDiskAndInMemory) {
  TrainTimes(5);
  EXPECT_THAT(Stored(), ElementsAre(4, 5));
  EXPECT_EQ(manager_->List()->front().versions_size(), 2);
  EXPECT_EQ(AcquireCode("power@3"), StatusCode::kNotFound);
  EXPECT_EQ(Mark("power@4"), 3);
  EXPECT_EQ(Mark("power"), 4);
  EXPECT_EQ(loader_.alive(), 2) << "their memory is free";
  EXPECT_THAT(FileSystem::Real().List(folder_.Path("tmp")).value(), IsEmpty());
}

TEST_F(RetentionTest, AllStayUnlessAskedFor) {
  Start(100);
  TrainTimes(5);
  EXPECT_THAT(Stored(), SizeIs(5));
}

TEST_F(RetentionTest, WhatAnAliasNamesStaysUntilItDoesNot) {
  TrainTimes(1);
  ASSERT_TRUE(SetAlias("power", "stable", 1).ok());
  TrainTimes(4);
  EXPECT_THAT(Stored(), ElementsAre(1, 4, 5));
  EXPECT_EQ(Mark("power@stable"), 0);
  ASSERT_TRUE(SetAlias("power", "stable", 5).ok());
  TrainTimes(1);
  EXPECT_THAT(Stored(), ElementsAre(5, 6));
}

TEST_F(RetentionTest, LatestIsAnAliasLikeOthersWhereItWasSet) {
  TrainTimes(1);
  ASSERT_TRUE(SetAlias("power", "latest", 1).ok());
  TrainTimes(4);
  EXPECT_THAT(Stored(), ElementsAre(1, 4, 5));
  EXPECT_EQ(manager_->Acquire("power")->version, 1u);
}

TEST_F(RetentionTest, WhatWasLoadedByHandStaysUntilItIsUnloaded) {
  TrainTimes(1);
  ASSERT_TRUE(manager_->Load("power@1").ok());
  TrainTimes(3);
  EXPECT_THAT(Stored(), ElementsAre(1, 3, 4));
  ASSERT_TRUE(manager_->Unload("power@1").ok());
  Reload();
  EXPECT_THAT(Stored(), ElementsAre(3, 4));
}

TEST_F(RetentionTest, WhatACallHoldsStaysUntilItEnds) {
  TrainTimes(1);
  auto held = manager_->Acquire("power");
  TrainTimes(3);
  EXPECT_THAT(Stored(), ElementsAre(1, 3, 4));
  EXPECT_EQ(Mark("power@1"), 0) << "and answers, as those say who go on there";
  held = absl::CancelledError();
  Reload();
  EXPECT_THAT(Stored(), ElementsAre(3, 4));
}

TEST_F(RetentionTest, WhatIsExportedStaysUntilItEnds) {
  TrainTimes(1);
  {
    auto archive = manager_->Export("power@1");
    ASSERT_TRUE(archive.ok()) << archive.status();
    ASSERT_TRUE(archive->Next(4096).ok());
    TrainTimes(3);
    EXPECT_THAT(Stored(), ElementsAre(1, 3, 4));
    for (bool more = true; more;) {
      const auto piece = archive->Next(4096);
      ASSERT_TRUE(piece.ok()) << piece.status();
      more = !piece->empty();
    }
  }
  Reload();
  EXPECT_THAT(Stored(), ElementsAre(3, 4));
}

TEST_F(RetentionTest, WhatIsAskedForByItsNumberStaysForAWhile) {
  Start(100, {.keep = 2});
  TrainTimes(2);
  ASSERT_TRUE(manager_->Acquire("power@1").ok());
  TrainTimes(3);
  EXPECT_THAT(Stored(), ElementsAre(1, 4, 5));
  Start(100, kKeepTwo);
  manager_->LoadAll();
  EXPECT_THAT(Stored(), ElementsAre(4, 5)) << "a server that starts looks, too";
}

TEST_F(RetentionTest, WhatCannotBeLoadedIsNoSubstitute) {
  TrainTimes(2);
  loader_.Fail(absl::InternalError("broken"));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(Train("power").ok());
  Reload();
  EXPECT_THAT(Stored(), SizeIs(5));
  EXPECT_EQ(Mark("power"), 1) << "the last good one answers";
  loader_.Fail(absl::OkStatus());
  TrainTimes(2);
  EXPECT_THAT(Stored(), ElementsAre(6, 7));
}

TEST_F(RetentionTest, NumbersAreNeverGivenTwice) {
  TrainTimes(4);
  ASSERT_TRUE(manager_->Unload("power@4").ok());
  ASSERT_TRUE(manager_->Delete("power", 4).ok());
  EXPECT_EQ(Publish("power"), 5u);
}

TEST_F(RetentionTest, OtherModelsAreLeftAlone) {
  ASSERT_TRUE(Train("gas").ok());
  TrainTimes(5);
  EXPECT_THAT(store_.Versions("gas").value(), ElementsAre(1));
}

TEST_F(RetentionTest, ASecondServerSeesWhatWentAndItsAliasesCount) {
  ModelStore other_store = OpenStore(FileSystem::Real(), folder_.path(), /*clean_tmp=*/false);
  FakeLoader other_loader{kVersionBytes};
  TrainTimes(2);
  ModelManager other(other_store, other_loader.AsLoader(), 100 * kVersionBytes, {});
  other.LoadAll();
  density::v1::SetAliasRequest alias;
  alias.set_name("power");
  alias.set_alias("stable");
  alias.set_version(1);
  ASSERT_TRUE(other.SetAlias(alias).ok());
  ASSERT_TRUE(other.Load("power@2").ok());
  const auto in_flight = other.Acquire("power@2");
  TrainTimes(3);
  EXPECT_THAT(Stored(), ElementsAre(1, 4, 5)) << "the alias that the other server has set";
  ASSERT_TRUE(other.ReloadFromDisk("power", false).ok());
  EXPECT_EQ(other.Acquire("power")->version, 5u);
  EXPECT_EQ(other.Acquire("power@stable")->version, 1u);
  EXPECT_FALSE(other.Acquire("power@2").ok());
  EXPECT_EQ(static_cast<const FakeServable&>(*in_flight->servable).mark(), 1) << "calls in flight finish";
}

TEST_F(RetentionTest, TwoPublishersBesideEachOtherLoseNothingThatStays) {
  ModelStore other_store = OpenStore(FileSystem::Real(), folder_.path(), /*clean_tmp=*/false);
  TrainTimes(1);
  ASSERT_TRUE(SetAlias("power", "stable", 1).ok());
  std::thread other([&] {
    for (int i = 0; i < 30; ++i) {
      ASSERT_TRUE(other_store.Publish("power", SampleManifest(), SampleTensors()).ok());
    }
  });
  for (int i = 0; i < 30; ++i) {
    const absl::Status status = Train("power");
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(manager_->Acquire("power").ok());
  }
  other.join();
  Reload();
  EXPECT_THAT(Stored(), ElementsAre(1, 60, 61));
}

/// What is stored after a publish into a root of four versions, of which 1 is `stable` and two are to stay, that was
/// cut short before its `point`-th change. False where it was not.
bool PublishCutShort(int point, const FaultyFileSystem::Case& crash, std::vector<uint64_t>& stored,
                     std::vector<uint64_t>& stored_in_the_end) {
  TempFolder folder;
  {
    ModelStore store = OpenStore(FileSystem::Real(), folder.path());
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(store.Publish("power", SampleManifest(), SampleTensors()).ok());
    EXPECT_TRUE(store.SetAlias("power", "stable", 1, {}).ok());
  }
  FaultyFileSystem faulty(FileSystem::Real());
  {
    ModelStore store = OpenStore(faulty, folder.path());
    FakeLoader loader{kVersionBytes};
    ModelManager manager(store, loader.AsLoader(), 100 * kVersionBytes, {}, kKeepTwo);
    faulty.StopBefore(faulty.changes() + point);
    const auto version = store.Publish("power", SampleManifest(), SampleTensors());
    if (version.ok()) (void)manager.OnPublished("power", *version);
  }
  const bool reached = faulty.reached();
  faulty.Crash(crash.loss, crash.seed);
  ModelStore store = OpenStore(FileSystem::Real(), folder.path());
  stored = store.Versions("power").value();
  for (const uint64_t version : stored) {
    EXPECT_TRUE(store.Read("power", version).ok()) << version << " of a publish that stopped at " << point;
  }
  EXPECT_EQ(store.ReadAliases("power")->versions().at("stable"), 1u);
  // The next server goes on with what was cut short.
  FakeLoader loader{kVersionBytes};
  ModelManager manager(store, loader.AsLoader(), 100 * kVersionBytes, {}, kKeepTwo);
  manager.LoadAll();
  stored_in_the_end = store.Versions("power").value();
  EXPECT_THAT(FileSystem::Real().List(folder.Path("tmp")).value(), IsEmpty());
  return reached;
}

TEST(RetentionFaultTest, StoppedAnywhereEveryVersionIsThereInFullOrGoneAndTheNextStartDoesTheRest) {
  for (const FaultyFileSystem::Case& crash : FaultyFileSystem::Crashes()) {
    int point = 0;
    std::vector<uint64_t> stored;
    std::vector<uint64_t> in_the_end;
    for (; PublishCutShort(point, crash, stored, in_the_end); ++point) {
      EXPECT_THAT(stored, IsSupersetOf({1, 4})) << point;
      EXPECT_THAT(stored, AnyOf(Contains(5), IsSupersetOf({1, 2, 3, 4}))) << "nothing goes before the new one is there";
      EXPECT_THAT(in_the_end, AnyOf(ElementsAre(1, 3, 4), ElementsAre(1, 4, 5))) << point;
    }
    EXPECT_THAT(stored, ElementsAre(1, 4, 5)) << "what was not cut short is done, and lasts";
    EXPECT_GT(point, 15) << "changes of a publish and of two deletions";
  }
}

TEST(RetentionFaultTest, ADiskThatFailsCostsNoPublish) {
  for (int point = 0;; ++point) {
    TempFolder folder;
    FaultyFileSystem faulty(FileSystem::Real());
    ModelStore store = OpenStore(faulty, folder.path());
    FakeLoader loader{kVersionBytes};
    ModelManager manager(store, loader.AsLoader(), 100 * kVersionBytes, {}, kKeepTwo);
    uint64_t newest = 0;
    for (int i = 0; i < 4; ++i) newest = store.Publish("power", SampleManifest(), SampleTensors()).value();
    faulty.FailFrom(faulty.changes() + point, absl::ResourceExhaustedError("no space left on device (injected)"));
    EXPECT_TRUE(manager.OnPublished("power", newest).ok()) << "it is stored, loaded and followed";
    EXPECT_EQ(manager.Acquire("power")->version, newest);
    const bool reached = faulty.reached();
    faulty.Heal();
    EXPECT_TRUE(manager.ReloadFromDisk("power", false).ok());
    EXPECT_THAT(store.Versions("power").value(), ElementsAre(3, 4)) << point;
    if (!reached) break;
  }
}

}  // namespace
}  // namespace densityd::registry::testing
