#include "server/training/training_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;

class TrainingStoreTest : public ::testing::Test {
 protected:
  TrainingStoreTest() : store_(TrainingStore::Open(files_, folder_.path()).value()) {
    job_.set_id("training-1");
    job_.mutable_request()->set_model("m");
    job_.set_inline_rows(true);
  }

  absl::Status Create() { return store_.Create(job_, {values_.data(), NumberType::kFloat32, 3, 2}); }

  TempFolder folder_;
  FileSystem& files_ = FileSystem::Real();
  TrainingStore store_;
  TrainingJob job_;
  const std::vector<float> values_ = {1, 2, 3, 4, 5, 6};
};

TEST_F(TrainingStoreTest, TheJobAndItsRowsAreReadBack) {
  ASSERT_TRUE(Create().ok());
  EXPECT_EQ(store_.ReadJob("training-1")->SerializeAsString(), job_.SerializeAsString());
  const auto rows = testing::ReadTable(OpenInlineRows(files_, store_.Folder("training-1")));
  EXPECT_THAT(rows->values, ::testing::ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(rows->cols, 2);
  EXPECT_THAT(*store_.List(), ::testing::ElementsAre("training-1"));
}

TEST_F(TrainingStoreTest, AnOutcomeEndsItAndFreesTheRows) {
  ASSERT_TRUE(Create().ok());
  EXPECT_EQ(store_.ReadOutcome("training-1").status().code(), absl::StatusCode::kNotFound);
  density::v1::Training training;
  training.set_id("training-1");
  training.set_state(density::v1::CANCELLED);
  ASSERT_TRUE(store_.WriteOutcome(training).ok());
  EXPECT_EQ(store_.ReadOutcome("training-1")->state(), density::v1::CANCELLED);
  EXPECT_FALSE(*files_.Exists(store_.Folder("training-1") + "/rows"));
}

TEST_F(TrainingStoreTest, NothingHalfWrittenOutlivesTheTraining) {
  ASSERT_TRUE(Create().ok());
  const std::string folder = store_.Folder("training-1");
  WriteFile(folder + "/tmp/publish-1/weights.safetensors", "half");
  WriteFile(folder + "/events.tmp-1", "half");
  ASSERT_TRUE(store_.WriteRun("training-1", RunRecord()).ok());
  ASSERT_TRUE(store_.RequestCancel("training-1").ok());
  density::v1::Training training;
  training.set_id("training-1");
  training.set_state(density::v1::CANCELLED);
  ASSERT_TRUE(store_.WriteOutcome(training).ok());
  EXPECT_THAT(*files_.List(folder), ::testing::ElementsAre("job", "outcome"));
  EXPECT_THAT(*files_.List(folder_.Path("tmp")), ::testing::IsEmpty());
}

// What a server that dies leaves is where the next one empties, and never beside what is read.
TEST_F(TrainingStoreTest, WhereverItStopsWritingTheFolderHoldsWholeFilesOnly) {
  ASSERT_TRUE(Create().ok());
  const std::vector<std::string> before = *files_.List(store_.Folder("training-1"));
  for (int point = 0;; ++point) {
    densityd::testing::FaultyFileSystem dying(files_);
    dying.StopBefore(point);
    absl::StatusOr<TrainingStore> stopped = TrainingStore::Open(dying, folder_.path());
    if (stopped.ok() && stopped->RequestCancel("training-1").ok()) break;
    ASSERT_TRUE(dying.reached());
    const std::vector<std::string> names = *files_.List(store_.Folder("training-1"));
    for (const std::string& name : names) {
      EXPECT_TRUE(name == "cancel" || absl::c_linear_search(before, name)) << name << " at point " << point;
    }
  }
  EXPECT_TRUE(*store_.IsCancelRequested("training-1"));
}

TEST_F(TrainingStoreTest, EveryCutAndEveryFlippedByteOfAJobIsDataLoss) {
  ASSERT_TRUE(Create().ok());
  const std::string path = store_.Folder("training-1") + "/job";
  const std::string whole = ReadFile(path);
  for (size_t i = 0; i < whole.size(); ++i) {
    WriteFile(path, whole.substr(0, i));
    EXPECT_TRUE(absl::IsDataLoss(store_.ReadJob("training-1").status())) << i;
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x20);
    WriteFile(path, damaged);
    EXPECT_TRUE(absl::IsDataLoss(store_.ReadJob("training-1").status())) << i;
  }
}

}  // namespace
}  // namespace densityd::training
