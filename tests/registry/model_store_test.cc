#include "server/registry/model_store.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/base/sha256.h"
#include "tests/base/temp_folder.h"
#include "tests/registry/sample_version.h"

namespace densityd::registry {
namespace {

using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using google::protobuf::util::MessageDifferencer;
using ::testing::ElementsAre;
using testing::F64Tensor;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::OpenStore;
using ::testing::Pair;
using testing::SampleManifest;
using testing::SampleTensors;
using ::testing::UnorderedElementsAre;

std::map<std::string, uint64_t> Map(const density::v1::Aliases& aliases) {
  return {aliases.versions().begin(), aliases.versions().end()};
}

class ModelStoreTest : public ::testing::Test {
 protected:
  uint64_t Publish(std::string_view name, double mark = 1) {
    const auto version = store_.Publish(name, SampleManifest(mark), SampleTensors(mark));
    EXPECT_TRUE(version.ok()) << version.status();
    return version.value_or(0);
  }
  std::vector<std::string> Temporary() { return files_.List(folder_.Path("tmp")).value(); }

  TempFolder folder_;
  FileSystem& files_ = FileSystem::Real();
  ModelStore store_ = OpenStore(files_, folder_.path());
};

TEST_F(ModelStoreTest, WhatIsPublishedIsReadEvenAfterReopening) {
  ASSERT_EQ(Publish("power"), 1u);
  const ModelStore reopened = OpenStore(files_, folder_.path());
  const auto stored = reopened.Read("power", 1);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->name, "power");
  EXPECT_EQ(stored->version, 1u);
  EXPECT_EQ(stored->manifest.format(), 1u);
  EXPECT_EQ(stored->manifest.name(), "power");
  EXPECT_TRUE(stored->manifest.has_create_time());
  EXPECT_TRUE(MessageDifferencer::Equals(stored->manifest.spec(), SampleManifest().spec())) << "to the last digit";
  EXPECT_TRUE(MessageDifferencer::Equals(stored->manifest.schema(), SampleManifest().schema()));
  EXPECT_TRUE(MessageDifferencer::Equals(stored->manifest.report(), SampleManifest().report()));
  const std::vector<Tensor> tensors = SampleTensors();
  ASSERT_EQ(stored->tensors.size(), tensors.size());
  for (const Tensor& tensor : stored->tensors) {
    const auto original =
        std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == tensor.name; });
    ASSERT_NE(original, tensors.end());
    EXPECT_EQ(tensor.shape, original->shape);
    EXPECT_EQ(tensor.data, original->data);
  }
  EXPECT_THAT(Temporary(), IsEmpty());
}

TEST_F(ModelStoreTest, VersionsCountUpPerModel) {
  EXPECT_EQ(Publish("power"), 1u);
  EXPECT_EQ(Publish("power"), 2u);
  EXPECT_EQ(Publish("gas"), 1u);
  EXPECT_THAT(store_.Models().value(), ElementsAre("gas", "power"));
  EXPECT_THAT(store_.Versions("power").value(), ElementsAre(1, 2));
  for (int i = 3; i <= 11; ++i) Publish("power");
  EXPECT_THAT(store_.Versions("power").value(), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
}

TEST_F(ModelStoreTest, StoredBytesAreThoseOnDisk) {
  Publish("power");
  const uint64_t bytes = store_.StoredBytes("power", 1).value();
  uint64_t expected = 0;
  for (const char* file : {"manifest.json", "manifest.sha256", "weights.safetensors"}) {
    expected += files_.Size(folder_.Path(absl::StrCat("models/power/1/", file))).value();
  }
  EXPECT_EQ(bytes, expected);
}

TEST_F(ModelStoreTest, TheManifestCanBeCheckedWithSha256sum) {
  Publish("power");
  const std::string text = densityd::testing::ReadFile(folder_.Path("models/power/1/manifest.json"));
  EXPECT_EQ(densityd::testing::ReadFile(folder_.Path("models/power/1/manifest.sha256")),
            Sha256Hex(text) + "  manifest.json\n");
}

TEST_F(ModelStoreTest, WhatIsUnknownIsNotFound) {
  Publish("power");
  using absl::StatusCode;
  EXPECT_EQ(store_.Versions("gas").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.Read("gas", 1).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.Read("power", 2).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.ReadManifest("power", 0).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.StoredBytes("power", 2).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.Delete("power", 2).code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.Delete("gas", 1).code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.ReadAliases("gas").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.SetAlias("gas", "stable", 1, {}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.SetAlias("power", "stable", 2, {}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.DeleteAlias("power", "stable", {}).status().code(), StatusCode::kNotFound);
  EXPECT_THAT(files_.List(folder_.Path("models")).value(), ElementsAre("power")) << "asking makes nothing";
}

TEST_F(ModelStoreTest, HostileNamesOpenNothing) {
  for (const std::string& name : {std::string("../models"), std::string("a/b"), std::string("."), std::string(""),
                                  std::string("a\0b", 3), std::string(4096, 'a')}) {
    using absl::StatusCode;
    EXPECT_EQ(store_.Publish(name, SampleManifest(), {}).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.Versions(name).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.Read(name, 1).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.ReadManifest(name, 1).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.StoredBytes(name, 1).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.Delete(name, 1).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.ReadAliases(name).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.SetAlias(name, "stable", 1, {}).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.DeleteAlias(name, "stable", {}).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.SetAlias("power", name, 1, {}).status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(store_.DeleteAlias("power", name, {}).status().code(), StatusCode::kInvalidArgument);
  }
  EXPECT_THAT(files_.List(folder_.Path("models")).value(), IsEmpty());
}

TEST_F(ModelStoreTest, BadTensorsPublishNothing) {
  EXPECT_EQ(store_.Publish("power", SampleManifest(), {{"a", DType::kF32, {2}, "x"}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(store_.Models().value(), IsEmpty());
  EXPECT_THAT(Temporary(), IsEmpty());
}

TEST_F(ModelStoreTest, StoresOnOneRootPublishDistinctVersionsAndMixNothing) {
  constexpr int kThreads = 4, kVersions = 8;
  std::vector<std::thread> threads;
  std::vector<std::map<uint64_t, double>> published(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      ModelStore store = OpenStore(files_, folder_.path(), /*clean_tmp=*/false);
      for (int i = 0; i < kVersions; ++i) {
        const double mark = thread * 100 + i;
        const auto version = store.Publish("power", SampleManifest(mark), SampleTensors(mark));
        ASSERT_TRUE(version.ok()) << version.status();
        published[thread][*version] = mark;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint64_t> versions;
  for (const auto& of_thread : published) {
    for (const auto& [version, mark] : of_thread) {
      EXPECT_TRUE(versions.insert(version).second) << version << " was given twice";
      const auto stored = store_.Read("power", version);
      ASSERT_TRUE(stored.ok()) << stored.status();
      EXPECT_EQ(stored->manifest.report().validation_log_likelihood(), -mark / 3);
    }
  }
  EXPECT_EQ(versions.size(), size_t{kThreads * kVersions});
  EXPECT_EQ(*versions.rbegin(), uint64_t{kThreads * kVersions});
}

TEST_F(ModelStoreTest, LatestIsTheNewestUntilItIsSet) {
  Publish("power");
  Publish("power");
  EXPECT_THAT(Map(*store_.ReadAliases("power")), ElementsAre(Pair("latest", 2)));
  EXPECT_EQ(store_.ReadAliases("power")->revision(), 0u);
  EXPECT_THAT(Map(*store_.SetAlias("power", "latest", 1, {})), ElementsAre(Pair("latest", 1)));
  Publish("power");
  EXPECT_THAT(Map(*store_.ReadAliases("power")), ElementsAre(Pair("latest", 1))) << "publishing leaves it";
}

TEST_F(ModelStoreTest, AliasesMoveAndGo) {
  Publish("power");
  Publish("power");
  const auto set = store_.SetAlias("power", "stable", 1, 0);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->revision(), 1u);
  EXPECT_THAT(Map(*set), UnorderedElementsAre(Pair("latest", 2), Pair("stable", 1)));
  EXPECT_EQ(store_.SetAlias("power", "stable", 2, 1)->revision(), 2u);
  EXPECT_EQ(store_.SetAlias("power", "stable", 2, 2)->revision(), 2u) << "nothing changed";
  const ModelStore reopened = OpenStore(files_, folder_.path());
  EXPECT_THAT(Map(*reopened.ReadAliases("power")), UnorderedElementsAre(Pair("latest", 2), Pair("stable", 2)));
  EXPECT_EQ(store_.DeleteAlias("power", "stable", 2)->revision(), 3u);
  EXPECT_EQ(store_.DeleteAlias("power", "stable", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.DeleteAlias("power", "latest", {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ModelStoreTest, AStaleRevisionIsAborted) {
  Publish("power");
  ASSERT_TRUE(store_.SetAlias("power", "stable", 1, {}).ok());
  for (uint64_t revision : {0, 2}) {
    EXPECT_EQ(store_.SetAlias("power", "canary", 1, revision).status().code(), absl::StatusCode::kAborted);
    EXPECT_EQ(store_.DeleteAlias("power", "stable", revision).status().code(), absl::StatusCode::kAborted);
  }
  EXPECT_EQ(store_.ReadAliases("power")->revision(), 1u);
}

TEST_F(ModelStoreTest, OfCompetingCompareAndSetsOneWinsEachRevision) {
  Publish("power");
  Publish("power");
  constexpr int kThreads = 4, kWins = 10;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      ModelStore store = OpenStore(files_, folder_.path(), /*clean_tmp=*/false);
      for (int wins = 0; wins < kWins;) {
        const auto seen = store.ReadAliases("power");
        ASSERT_TRUE(seen.ok()) << seen.status();
        const auto set = store.SetAlias("power", absl::StrCat("a", thread, "-", wins), 1, seen->revision());
        if (set.ok()) {
          EXPECT_EQ(set->revision(), seen->revision() + 1);
          ++wins;
        } else {
          ASSERT_EQ(set.status().code(), absl::StatusCode::kAborted) << set.status();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto aliases = store_.ReadAliases("power");
  EXPECT_EQ(aliases->revision(), uint64_t{kThreads * kWins});
  EXPECT_EQ(aliases->versions_size(), 1 + kThreads * kWins) << "no update was lost";
}

TEST_F(ModelStoreTest, ANamedVersionIsNotDeleted) {
  Publish("power");
  ASSERT_TRUE(store_.SetAlias("power", "stable", 1, {}).ok());
  const absl::Status status = store_.Delete("power", 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("alias stable"));
  ASSERT_TRUE(store_.DeleteAlias("power", "stable", {}).ok());
  EXPECT_TRUE(store_.Delete("power", 1).ok());
  EXPECT_THAT(store_.Models().value(), IsEmpty());
  EXPECT_THAT(Temporary(), IsEmpty());
}

TEST_F(ModelStoreTest, ADeletedVersionsNumberIsNeverGivenAgain) {
  Publish("power");
  Publish("power");
  ASSERT_TRUE(store_.Delete("power", 2).ok());
  EXPECT_EQ(Publish("power"), 3u);
  ASSERT_TRUE(store_.Delete("power", 3).ok());
  ASSERT_TRUE(store_.Delete("power", 1).ok());
  EXPECT_EQ(Publish("power"), 4u);
}

TEST_F(ModelStoreTest, LatestGoesBackToTheNewestWhenItsVersionIsDeleted) {
  for (int i = 0; i < 3; ++i) Publish("power");
  ASSERT_TRUE(store_.SetAlias("power", "latest", 2, {}).ok());
  ASSERT_TRUE(store_.Delete("power", 2).ok());
  EXPECT_THAT(Map(*store_.ReadAliases("power")), ElementsAre(Pair("latest", 3)));
  ASSERT_TRUE(store_.SetAlias("power", "stable", 1, {}).ok());
  EXPECT_THAT(Map(*store_.ReadAliases("power")), UnorderedElementsAre(Pair("latest", 3), Pair("stable", 1)));
}

TEST_F(ModelStoreTest, WhatIsNoModelIsLeftAlone) {
  Publish("power");
  WriteFile(folder_.Path("models/lost+found/x"), "");
  WriteFile(folder_.Path("models/.hidden/1/manifest.json"), "");
  WriteFile(folder_.Path("models/README"), "");
  WriteFile(folder_.Path("models/power/01/x"), "");
  WriteFile(folder_.Path("models/power/notes.txt"), "");
  WriteFile(folder_.Path("models/power/99999999999999999999999/x"), "");
  EXPECT_THAT(store_.Models().value(), ElementsAre("power"));
  EXPECT_THAT(store_.Versions("power").value(), ElementsAre(1));
}

TEST(ModelStoreOpenTest, ARootOfAnotherFormatIsRefused) {
  TempFolder folder;
  WriteFile(folder.Path("FORMAT"), "densityd root 2\n");
  const absl::Status status = ModelStore::Open(FileSystem::Real(), folder.path(), true).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("densityd root 2"));
}

TEST(ModelStoreOpenTest, AFolderOfSomethingElseIsRefusedAndLeftAlone) {
  TempFolder folder;
  WriteFile(folder.Path("thesis.tex"), "precious");
  EXPECT_EQ(ModelStore::Open(FileSystem::Real(), folder.path(), true).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(FileSystem::Real().List(folder.path()).value(), ElementsAre("thesis.tex"));
}

TEST(ModelStoreOpenTest, OnlyTheOwnerEmptiesTmp) {
  TempFolder folder;
  OpenStore(FileSystem::Real(), folder.path());
  WriteFile(folder.Path("tmp/publish-x/weights.safetensors"), "half");
  OpenStore(FileSystem::Real(), folder.path(), /*clean_tmp=*/false);
  EXPECT_THAT(FileSystem::Real().List(folder.Path("tmp")).value(), ElementsAre("publish-x"));
  OpenStore(FileSystem::Real(), folder.path(), /*clean_tmp=*/true);
  EXPECT_THAT(FileSystem::Real().List(folder.Path("tmp")).value(), IsEmpty());
}

}  // namespace
}  // namespace densityd::registry
