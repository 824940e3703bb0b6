// Whatever fails, and wherever the process or the machine stops: the old state or the new one, and nothing left over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "server/registry/model_store.h"
#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"
#include "tests/registry/sample_version.h"

namespace densityd::registry {
namespace {

using densityd::testing::FaultyFileSystem;
using densityd::testing::TempFolder;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::IsEmpty;
using testing::OpenStore;
using testing::SampleManifest;
using testing::SampleTensors;

/// What can be seen of a root: versions that read back whole, and aliases.
std::string StateOf(const ModelStore& store) {
  std::string state;
  const std::vector<std::string> models = store.Models().value();
  for (const std::string& name : models) {
    state += name + ":";
    const std::vector<uint64_t> versions = store.Versions(name).value();
    for (uint64_t version : versions) {
      const auto stored = store.Read(name, version);
      EXPECT_TRUE(stored.ok()) << stored.status();
      state += " " + std::to_string(version);
    }
    const auto aliases = store.ReadAliases(name);
    EXPECT_TRUE(aliases.ok()) << aliases.status();
    if (!aliases.ok()) continue;
    state += " revision " + std::to_string(aliases->revision());
    const std::map<std::string, uint64_t> sorted(aliases->versions().begin(), aliases->versions().end());
    for (const auto& [alias, version] : sorted) state += " " + alias + "=" + std::to_string(version);
    state += "\n";
  }
  return state;
}

struct Change {
  const char* name;
  std::function<absl::Status(ModelStore&)> apply;
};

void PrintTo(const Change& change, std::ostream* stream) { *stream << change.name; }

const Change kChanges[] = {
    {"publish_first",
     [](ModelStore& store) { return store.Publish("gas", SampleManifest(), SampleTensors()).status(); }},
    {"publish_next",
     [](ModelStore& store) { return store.Publish("power", SampleManifest(), SampleTensors()).status(); }},
    {"set_first_alias", [](ModelStore& store) { return store.SetAlias("water", "stable", 1, {}).status(); }},
    {"move_alias", [](ModelStore& store) { return store.SetAlias("power", "stable", 2, {}).status(); }},
    {"set_latest", [](ModelStore& store) { return store.SetAlias("power", "latest", 1, {}).status(); }},
    {"delete_alias", [](ModelStore& store) { return store.DeleteAlias("power", "stable", {}).status(); }},
    {"delete_newest", [](ModelStore& store) { return store.Delete("power", 3); }},
    {"retire", [](ModelStore& store) { return store.Retire("power", 2); }},
};

class FaultTest : public ::testing::TestWithParam<Change> {
 protected:
  /// Three versions of power with an alias, one of water.
  static void Prepare(const std::string& root) {
    ModelStore store = OpenStore(FileSystem::Real(), root);
    for (const char* name : {"power", "power", "power", "water"}) {
      ASSERT_TRUE(store.Publish(name, SampleManifest(), SampleTensors()).ok());
    }
    ASSERT_TRUE(store.SetAlias("power", "stable", 1, {}).ok());
  }
  /// The states before and after the change.
  static std::pair<std::string, std::string> OldAndNew() {
    TempFolder folder;
    Prepare(folder.path());
    ModelStore store = OpenStore(FileSystem::Real(), folder.path());
    std::string old_state = StateOf(store);
    EXPECT_TRUE(GetParam().apply(store).ok());
    return {old_state, StateOf(store)};
  }
};

TEST_P(FaultTest, StoppingAnywhereLeavesTheOldStateOrTheNewOne) {
  const auto [old_state, new_state] = OldAndNew();
  ASSERT_NE(old_state, new_state);
  for (const auto& [loss, seed] : FaultyFileSystem::Crashes()) {
    for (int point = 0;; ++point) {
      TempFolder folder;
      Prepare(folder.path());
      FaultyFileSystem faulty(FileSystem::Real());
      ModelStore store = OpenStore(faulty, folder.path());
      faulty.StopBefore(faulty.changes() + point);
      const absl::Status status = GetParam().apply(store);
      faulty.Crash(loss, seed);
      ModelStore reopened = OpenStore(FileSystem::Real(), folder.path());
      EXPECT_THAT(FileSystem::Real().List(folder.Path("tmp")).value(), IsEmpty());
      if (!faulty.reached()) {
        EXPECT_TRUE(status.ok()) << status;
        EXPECT_EQ(StateOf(reopened), new_state) << "what was answered OK is durable";
        EXPECT_GT(point, 3);
        break;
      }
      EXPECT_THAT(StateOf(reopened), AnyOf(Eq(old_state), Eq(new_state))) << "stopped before change " << point;
      // What was cut short can be done again.
      if (StateOf(reopened) == old_state) {
        EXPECT_TRUE(GetParam().apply(reopened).ok());
        EXPECT_EQ(StateOf(reopened), new_state);
      }
    }
  }
}

TEST_P(FaultTest, OneErrorAnywhereIsReportedAndLeavesNothingBehind) {
  const auto [old_state, new_state] = OldAndNew();
  for (int point = 0;; ++point) {
    TempFolder folder;
    Prepare(folder.path());
    FaultyFileSystem faulty(FileSystem::Real());
    ModelStore store = OpenStore(faulty, folder.path());
    faulty.FailAt(faulty.changes() + point, absl::UnavailableError("input/output error (injected)"));
    const absl::Status status = GetParam().apply(store);
    if (!faulty.reached()) break;
    // Only what merely tidies up may fail unreported, and that is done again at the next start.
    EXPECT_TRUE(status.code() == absl::StatusCode::kUnavailable || StateOf(store) == new_state) << point << status;
    EXPECT_THAT(StateOf(store), AnyOf(Eq(old_state), Eq(new_state))) << point;
    if (StateOf(store) == old_state) {
      EXPECT_THAT(FileSystem::Real().List(folder.Path("tmp")).value(), IsEmpty());
    }
  }
}

TEST_P(FaultTest, AFullOrReadOnlyDiskFailsClearlyAndWorksAgainAfterwards) {
  const auto [old_state, new_state] = OldAndNew();
  for (const absl::Status& fault : {absl::ResourceExhaustedError("no space left on device (injected)"),
                                    absl::PermissionDeniedError("read-only file system (injected)")}) {
    for (int point = 0;; ++point) {
      TempFolder folder;
      Prepare(folder.path());
      FaultyFileSystem faulty(FileSystem::Real());
      ModelStore store = OpenStore(faulty, folder.path());
      faulty.FailFrom(faulty.changes() + point, fault);
      const absl::Status status = GetParam().apply(store);
      if (!faulty.reached()) break;
      const std::string state = StateOf(store);
      EXPECT_THAT(state, AnyOf(Eq(old_state), Eq(new_state))) << "still readable";
      EXPECT_TRUE(state == new_state || status.code() == fault.code()) << status;
      faulty.Heal();
      EXPECT_TRUE(state == new_state || GetParam().apply(store).ok());
      EXPECT_EQ(StateOf(store), new_state);
    }
  }
}

TEST_P(FaultTest, OneReadThatFailsIsReportedAndChangesNothing) {
  const auto [old_state, new_state] = OldAndNew();
  for (int point = 0;; ++point) {
    TempFolder folder;
    Prepare(folder.path());
    FaultyFileSystem faulty(FileSystem::Real());
    ModelStore store = OpenStore(faulty, folder.path());
    faulty.FailReadAt(point, absl::UnavailableError("input/output error (injected)"));
    const absl::Status status = GetParam().apply(store);
    if (!faulty.reached()) break;
    const std::string state = StateOf(store);
    EXPECT_THAT(state, AnyOf(Eq(old_state), Eq(new_state))) << point;
    EXPECT_TRUE(status.code() == absl::StatusCode::kUnavailable || state == new_state) << point << status;
    EXPECT_THAT(FileSystem::Real().List(folder.Path("tmp")).value(), IsEmpty()) << point;
    EXPECT_TRUE(state == new_state || GetParam().apply(store).ok()) << point;
  }
}

INSTANTIATE_TEST_SUITE_P(Changes, FaultTest, ::testing::ValuesIn(kChanges),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(FirstStartTest, StoppingAnywhereLeavesARootThatOpens) {
  for (const auto& [loss, seed] : FaultyFileSystem::Crashes()) {
    for (int point = 0;; ++point) {
      TempFolder folder;
      FaultyFileSystem faulty(FileSystem::Real());
      faulty.StopBefore(point);
      const std::string root = folder.Path("new/root");
      const bool opened = ModelStore::Open(faulty, root, true).ok();
      faulty.Crash(loss, seed);
      ModelStore store = OpenStore(FileSystem::Real(), root);
      EXPECT_TRUE(store.Publish("power", SampleManifest(), SampleTensors()).ok());
      if (opened) break;
    }
  }
}

}  // namespace
}  // namespace densityd::registry
