// Wherever the process or the machine stops while the store of trainings changes something: the old state or the new
// one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "server/training/training_store.h"
#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using densityd::testing::FaultyFileSystem;
using densityd::testing::TempFolder;
using ::testing::AnyOf;
using ::testing::Eq;

TrainingJob Job(const std::string& id) {
  TrainingJob job;
  job.set_id(id);
  job.mutable_request()->set_model("m");
  job.set_inline_rows(true);
  return job;
}

absl::Status Create(TrainingStore& store, const std::string& id) {
  static const std::vector<float> kRows = {1, 2, 3, 4, 5, 6};
  return store.Create(Job(id), {kRows.data(), NumberType::kFloat32, 3, 2});
}

absl::Status End(TrainingStore& store, const std::string& id) {
  density::v1::Training training;
  training.set_id(id);
  training.set_state(density::v1::SUCCEEDED);
  training.set_version(3);
  return store.WriteOutcome(training);
}

absl::Status Run(TrainingStore& store, uint32_t resumes) {
  RunRecord record;
  record.set_resumes(resumes);
  return store.WriteRun("training-1", record);
}

/// What can be read of a root. NOT_FOUND is a state, every other error a broken promise.
std::string StateOf(FileSystem& files, const TrainingStore& store) {
  std::string state;
  const auto told = [](const auto& message) {
    EXPECT_TRUE(message.ok() || absl::IsNotFound(message.status())) << message.status();
    return message.ok() ? message->ShortDebugString() : std::string("none");
  };
  const std::vector<std::string> ids = store.List().value();
  for (const std::string& id : ids) {
    const auto job = store.ReadJob(id);
    EXPECT_TRUE(job.ok()) << job.status();
    const auto cancel = store.IsCancelRequested(id);
    EXPECT_TRUE(cancel.ok()) << cancel.status();
    const auto outcome = store.ReadOutcome(id);
    state += id + ": run " + told(store.ReadRun(id)) + ", outcome " + told(outcome) +
             (cancel.value_or(false) ? ", to be cancelled" : "") + "\n";
    if (outcome.ok()) continue;
    const auto rows = testing::ReadTable(OpenInlineRows(files, store.Folder(id)));
    EXPECT_TRUE(rows.ok()) << "whoever has not ended needs his rows: " << rows.status();
  }
  return state;
}

struct Change {
  const char* name;
  std::function<absl::Status(TrainingStore&)> apply;
};

void PrintTo(const Change& change, std::ostream* stream) { *stream << change.name; }

const Change kChanges[] = {
    {"create", [](TrainingStore& store) { return Create(store, "training-9"); }},
    {"first_run", [](TrainingStore& store) { return Run(store, 1); }},
    {"cancel", [](TrainingStore& store) { return store.RequestCancel("training-1"); }},
    {"outcome", [](TrainingStore& store) { return End(store, "training-1"); }},
    {"remove", [](TrainingStore& store) { return store.Remove("training-2"); }},
};

class TrainingStoreFaultTest : public ::testing::TestWithParam<Change> {
 protected:
  /// One training that waits, one that has ended.
  static void Prepare(const std::string& root) {
    TrainingStore store = TrainingStore::Open(FileSystem::Real(), root).value();
    for (const char* id : {"training-1", "training-2"}) ASSERT_TRUE(Create(store, id).ok());
    ASSERT_TRUE(End(store, "training-2").ok());
  }
};

TEST_P(TrainingStoreFaultTest, StoppingAnywhereLeavesTheOldStateOrTheNewOne) {
  for (const auto& [loss, seed] : FaultyFileSystem::Crashes()) {
    bool reached = true;
    for (int point = 0; reached; ++point) {
      TempFolder root;
      Prepare(root.path());
      const auto seen = [&] {
        return StateOf(FileSystem::Real(), TrainingStore::Open(FileSystem::Real(), root.path()).value());
      };
      const std::string old_state = seen();
      FaultyFileSystem faulty(FileSystem::Real());
      TrainingStore store = TrainingStore::Open(faulty, root.path()).value();
      faulty.StopBefore(faulty.changes() + point);
      const absl::Status status = GetParam().apply(store);
      reached = faulty.reached();
      faulty.Crash(loss, seed);
      const std::string state = seen();
      TempFolder undisturbed;
      Prepare(undisturbed.path());
      TrainingStore whole = TrainingStore::Open(FileSystem::Real(), undisturbed.path()).value();
      ASSERT_TRUE(GetParam().apply(whole).ok());
      const std::string new_state = StateOf(FileSystem::Real(), whole);
      ASSERT_NE(old_state, new_state);
      EXPECT_THAT(state, AnyOf(Eq(old_state), Eq(new_state))) << "stopped before change " << point;
      if (status.ok()) {
        EXPECT_EQ(state, new_state) << "what was answered OK is durable";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Changes, TrainingStoreFaultTest, ::testing::ValuesIn(kChanges),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace densityd::training
