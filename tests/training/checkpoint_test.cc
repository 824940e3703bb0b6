#include "server/training/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "server/training/record_file.h"
#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"

namespace densityd::training {
namespace {

using densityd::testing::FaultyFileSystem;
using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;

Checkpoint AtStep(uint64_t step) {
  Checkpoint checkpoint;
  checkpoint.state.set_step(step);
  checkpoint.state.set_best_nll(1.5);
  registry::Tensor tensor;
  tensor.name = "values";
  tensor.shape = {3};
  tensor.data.assign(12, static_cast<char>(step));
  checkpoint.tensors.push_back(tensor);
  return checkpoint;
}

uint64_t NewestStep(const CheckpointStore& store) {
  const auto newest = store.ReadNewest();
  EXPECT_TRUE(newest.ok()) << newest.status();
  return newest.ok() && newest->has_value() ? (*newest)->state.step() : 0;
}

class CheckpointTest : public ::testing::Test {
 protected:
  // Files of checkpoints, in the order of their steps.
  std::vector<std::string> Files() const {
    std::vector<std::string> files = FileSystem::Real().List(folder_.path()).value();
    std::erase(files, "checkpoints");
    return files;
  }

  TempFolder folder_;
  CheckpointStore store_{FileSystem::Real(), folder_.path()};
};

TEST_F(CheckpointTest, TheNewestIsReadBackWhole) {
  EXPECT_EQ(NewestStep(store_), 0);
  for (uint64_t step = 1; step <= 3; ++step) ASSERT_TRUE(store_.Write(AtStep(step)).ok());
  const Checkpoint read = **store_.ReadNewest();
  EXPECT_EQ(read.state.SerializeAsString(), AtStep(3).state.SerializeAsString());
  ASSERT_EQ(read.tensors.size(), 1);
  EXPECT_EQ(read.tensors[0].name, "values");
  EXPECT_EQ(read.tensors[0].data, AtStep(3).tensors[0].data);
}

TEST_F(CheckpointTest, NothingGoesOnFromThoseOfAnotherFormatAndTheNextReplacesThem) {
  for (uint64_t step = 1; step <= 2; ++step) ASSERT_TRUE(store_.Write(AtStep(step)).ok());
  const std::string path = folder_.Path("checkpoints");
  CheckpointIndex index;
  ASSERT_TRUE(index.ParseFromString(ReadRecordFile(FileSystem::Real(), path).value()));
  index.set_format(CheckpointStore::kFormat - 1);
  ASSERT_TRUE(WriteRecordFile(FileSystem::Real(), path, index.SerializeAsString()).ok());
  EXPECT_FALSE(store_.ReadNewest()->has_value());
  ASSERT_TRUE(store_.Write(AtStep(1)).ok());
  EXPECT_EQ(NewestStep(store_), 1);
  EXPECT_EQ(Files().size(), 1);
}

TEST_F(CheckpointTest, TwoAreKept) {
  for (uint64_t step = 1; step <= 5; ++step) {
    ASSERT_TRUE(store_.Write(AtStep(step)).ok());
    EXPECT_EQ(Files().size(), std::min<uint64_t>(step, 2));
  }
  ASSERT_TRUE(store_.RemoveAll().ok());
  EXPECT_TRUE(FileSystem::Real().List(folder_.path())->empty());
}

TEST_F(CheckpointTest, ADamagedOneIsPassedOverForTheOneBefore) {
  for (uint64_t step = 1; step <= 2; ++step) ASSERT_TRUE(store_.Write(AtStep(step)).ok());
  const std::string path = folder_.Path(Files()[1]);
  const std::string whole = ReadFile(path);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    WriteFile(path, damaged);
    ASSERT_EQ(NewestStep(store_), 1) << "flipped byte " << i;
    WriteFile(path, whole.substr(0, i));
    ASSERT_EQ(NewestStep(store_), 1) << "cut to " << i;
  }
  ASSERT_TRUE(FileSystem::Real().Remove(path).ok());
  EXPECT_EQ(NewestStep(store_), 1);
  WriteFile(folder_.Path(Files()[0]), "");
  EXPECT_EQ(NewestStep(store_), 0);
}

TEST_F(CheckpointTest, ADamagedIndexMeansNoneAndTheNextMendsIt) {
  ASSERT_TRUE(store_.Write(AtStep(1)).ok());
  WriteFile(folder_.Path("checkpoints"), "rubbish");
  EXPECT_EQ(NewestStep(store_), 0);
  ASSERT_TRUE(store_.Write(AtStep(2)).ok());
  EXPECT_EQ(NewestStep(store_), 2);
  EXPECT_EQ(Files().size(), 1);
}

TEST_F(CheckpointTest, TheSameStepTwiceIsNoConflict) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store_.Write(AtStep(7)).ok());
  EXPECT_EQ(NewestStep(store_), 7);
}

// The power goes before any operation of a write: what counts is the old checkpoint or the new one, whole.
TEST(CheckpointFaultTest, AfterACrashAtAnyPointTheOldOrTheNewOneIsThere) {
  for (const auto& [loss, seed] : FaultyFileSystem::Crashes()) {
    bool reached = true;
    for (int point = 0; reached; ++point) {
      TempFolder folder;
      FaultyFileSystem files(FileSystem::Real());
      CheckpointStore store(files, folder.path());
      for (uint64_t step = 1; step <= 2; ++step) ASSERT_TRUE(store.Write(AtStep(step)).ok());
      files.StopBefore(files.changes() + point);
      const absl::Status written = store.Write(AtStep(3));
      reached = files.reached();
      files.Crash(loss, seed);
      CheckpointStore reopened(FileSystem::Real(), folder.path());
      const uint64_t newest = NewestStep(reopened);
      EXPECT_TRUE(newest == 2 || newest == 3) << "at point " << point << ": " << newest;
      if (!reached) {
        EXPECT_EQ(newest, 3) << written;
      }
      // And it goes on, with nothing left over of what was cut short.
      ASSERT_TRUE(reopened.Write(AtStep(4)).ok());
      EXPECT_EQ(NewestStep(reopened), 4);
      EXPECT_LE(FileSystem::Real().List(folder.path())->size(), 3);
    }
  }
}

TEST(CheckpointFaultTest, AFullDiskKeepsTheOldOne) {
  bool reached = true;
  for (int point = 0; reached; ++point) {
    TempFolder folder;
    FaultyFileSystem files(FileSystem::Real());
    CheckpointStore store(files, folder.path());
    ASSERT_TRUE(store.Write(AtStep(1)).ok());
    files.FailAt(files.changes() + point, absl::ResourceExhaustedError("no space left"));
    const absl::Status written = store.Write(AtStep(2));
    reached = files.reached();
    if (!reached) {
      EXPECT_TRUE(written.ok()) << written;
    }
    const uint64_t newest = NewestStep(store);
    EXPECT_TRUE(newest == 1 || newest == 2) << "at point " << point;
  }
}

}  // namespace
}  // namespace densityd::training
