#include "server/training/dataset_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using densityd::testing::FaultyFileSystem;
using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::AnyOf;
using testing::BadField;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ConstMatrix View(const std::vector<float>& values, size_t cols) {
  return {values.data(), NumberType::kFloat32, values.size() / cols, cols};
}
ConstMatrix View(const std::vector<double>& values, size_t cols) {
  return {values.data(), NumberType::kFloat64, values.size() / cols, cols};
}

class DatasetStoreTest : public ::testing::Test {
 protected:
  DatasetStoreTest() : store_(DatasetStore::Open(files_, root_.path(), 1 << 24).value()) {}

  std::vector<std::string> Names(const std::string& folder) { return *files_.List(root_.Path(folder)); }

  std::string Store(const std::vector<double>& values, size_t cols) {
    auto upload = store_.Create("name", {});
    EXPECT_TRUE((*upload)->Append(View(values, cols)).ok());
    const auto dataset = (*upload)->Commit();
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return dataset->id();
  }

  TempFolder root_;
  FileSystem& files_ = FileSystem::Real();
  DatasetStore store_;
};

TEST_F(DatasetStoreTest, RowsOfBothPrecisionsAreReadBackExactly) {
  auto upload = store_.Create("two kinds", {"a", "b"});
  ASSERT_TRUE((*upload)->Append(View(std::vector<float>{1.5F, -2}, 2)).ok());
  ASSERT_TRUE((*upload)->Append(View(std::vector<double>{0.1, 1e300, 3, 4}, 2)).ok());
  const auto dataset = (*upload)->Commit();
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(dataset->rows(), 3);
  EXPECT_EQ(dataset->display_name(), "two kinds");
  const auto table = testing::ReadTable(store_.OpenRows(dataset->id()));
  EXPECT_THAT(table->values, ElementsAre(1.5, -2, 0.1, 1e300, 3, 4));
  EXPECT_THAT(table->columns, ElementsAre("a", "b"));
  EXPECT_EQ(store_.Get(dataset->id())->SerializeAsString(), dataset->SerializeAsString());
}

TEST_F(DatasetStoreTest, RowsThatFillManyChunksAreReadBackExactly) {
  std::vector<double> values;
  for (int i = 0; i < 1'200'000; ++i) values.push_back(i * 0.5);
  EXPECT_EQ(testing::ReadTable(store_.OpenRows(Store(values, 3)))->values, values);
}

TEST_F(DatasetStoreTest, ListIsNewestFirstAndDeleteRemoves) {
  const std::string first = Store({1}, 1);
  const std::string second = Store({2}, 1);
  const auto list = store_.List();
  ASSERT_EQ(list->size(), 2);
  EXPECT_EQ((*list)[0].id(), second);
  EXPECT_TRUE(store_.Delete(second).ok());
  EXPECT_EQ(store_.Delete(second).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(testing::ReadTable(store_.OpenRows(second)).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Names("datasets"), ElementsAre(first));
  EXPECT_THAT(Names("tmp"), IsEmpty());
}

TEST_F(DatasetStoreTest, ABrokenUploadLeavesNothing) {
  {
    auto upload = store_.Create("", {});
    ASSERT_TRUE((*upload)->Append(View(std::vector<double>{1, 2}, 1)).ok());
  }
  EXPECT_THAT(Names("datasets"), IsEmpty());
  EXPECT_THAT(Names("tmp"), IsEmpty());
}

TEST_F(DatasetStoreTest, BadChunksAreRefusedByFieldAndRow) {
  auto upload = store_.Create("", {"a", "b"});
  EXPECT_EQ(BadField((*upload)->Commit().status()), "rows");
  ASSERT_TRUE((*upload)->Append(View(std::vector<double>{1, 2, 3, 4}, 2)).ok());
  EXPECT_EQ(BadField((*upload)->Append(View(std::vector<double>{1, 2, 3}, 3))), "rows");
  // What was refused cannot be committed as if it had been there.
  EXPECT_FALSE((*upload)->Commit().ok());

  auto nonfinite = store_.Create("", {});
  ASSERT_TRUE((*nonfinite)->Append(View(std::vector<float>{1, 2, 3, 4}, 2)).ok());
  const absl::Status status = (*nonfinite)->Append(View(std::vector<float>{1, 2, 3, NAN}, 2));
  EXPECT_THAT(std::string(status.message()), HasSubstr("rows: row 3: column 1 holds nan"));

  auto misnamed = store_.Create("", {"a"});
  EXPECT_EQ(BadField((*misnamed)->Append(View(std::vector<double>{1, 2}, 2))), "columns");
  EXPECT_EQ(BadField(store_.Create("", {"a", "a"}).status()), "columns[1]");
  EXPECT_EQ(BadField(store_.Create(std::string(129, 'x'), {}).status()), "display_name");
}

TEST_F(DatasetStoreTest, TheLimitIsToldAndNothingRemains) {
  DatasetStore small = DatasetStore::Open(files_, root_.path(), 1000).value();
  auto upload = small.Create("", {});
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = (*upload)->Append(View(std::vector<double>(10, 1.0), 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1000 bytes"));
  upload->reset();
  EXPECT_THAT(Names("tmp"), IsEmpty());
}

TEST_F(DatasetStoreTest, HostileIdsAreRefused) {
  for (const std::string id : {"", "..", "../x", "a/b", ".", "A"}) {
    EXPECT_EQ(store_.Get(id).status().code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(store_.Delete(id).code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

TEST_F(DatasetStoreTest, EveryFlippedByteAndEveryCutOfTheRowsIsDataLossNamingTheChunk) {
  auto upload = store_.Create("", {});
  ASSERT_TRUE((*upload)->Append(View(std::vector<double>{1, 2}, 1)).ok());
  ASSERT_TRUE((*upload)->Append(View(std::vector<double>{3, 4}, 1)).ok());
  const std::string id = (*upload)->Commit()->id();
  const std::string path = root_.Path("datasets/" + id + "/rows");
  const std::string whole = ReadFile(path);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x01);
    for (const std::string& damaged : {flipped, whole.substr(0, i)}) {
      WriteFile(path, damaged);
      const absl::Status status = testing::ReadTable(store_.OpenRows(id)).status();
      EXPECT_TRUE(absl::IsDataLoss(status)) << i << ": " << status;
      EXPECT_THAT(std::string(status.message()), AnyOf(HasSubstr("chunk"), HasSubstr("header"))) << i;
    }
  }
  WriteFile(path, whole + "x");
  EXPECT_TRUE(absl::IsDataLoss(testing::ReadTable(store_.OpenRows(id)).status()));
}

TEST_F(DatasetStoreTest, AChunkFromElsewhereIsFound) {
  const std::string one = Store({1, 2}, 1);
  auto upload = store_.Create("", {});
  ASSERT_TRUE((*upload)->Append(View(std::vector<double>{9, 9}, 1)).ok());
  ASSERT_TRUE((*upload)->Append(View(std::vector<double>{1, 2}, 1)).ok());
  const std::string two = (*upload)->Commit()->id();
  std::string bytes = ReadFile(root_.Path("datasets/" + one + "/rows"));
  const std::string other = ReadFile(root_.Path("datasets/" + two + "/rows"));
  const size_t chunk = 8 + 64 + 16;
  bytes.replace(16, chunk, other.substr(16 + chunk, chunk));
  WriteFile(root_.Path("datasets/" + one + "/rows"), bytes);
  EXPECT_THAT(std::string(testing::ReadTable(store_.OpenRows(one)).status().message()), HasSubstr("chunk 0"));
}

// Whatever fails during an upload, either the dataset is there in full or nothing of it is.
TEST(DatasetStoreFaultTest, AFailedUploadLeavesNothing) {
  bool reached = true;
  for (int point = 0; reached; ++point) {
    TempFolder root;
    FaultyFileSystem files(FileSystem::Real());
    DatasetStore store = DatasetStore::Open(files, root.path(), 1 << 20).value();
    files.FailAt(files.changes() + point, absl::ResourceExhaustedError("no space left"));
    absl::Status status;
    {
      auto upload = store.Create("", {});
      const std::vector<double> values = {1, 2, 3};
      status = (*upload)->Append(View(values, 1));
      if (status.ok()) status = (*upload)->Commit().status();
    }
    reached = files.reached();
    files.Heal();
    const auto datasets = *FileSystem::Real().List(root.Path("datasets"));
    EXPECT_EQ(datasets.size(), status.ok() ? 1 : 0) << point;
    if (status.ok()) {
      EXPECT_THAT(testing::ReadTable(store.OpenRows(datasets[0]))->values, ElementsAre(1, 2, 3));
    } else {
      EXPECT_THAT(*FileSystem::Real().List(root.Path("tmp")), IsEmpty()) << point;
    }
  }
}

// A power cut at any moment leaves the whole dataset or none.
TEST(DatasetStoreFaultTest, APowerCutLeavesAllOrNothing) {
  for (const auto& [loss, seed] : FaultyFileSystem::Crashes()) {
    bool reached = true;
    for (int point = 0; reached; ++point) {
      TempFolder root;
      {
        const auto opened = DatasetStore::Open(FileSystem::Real(), root.path(), 1 << 20);
        ASSERT_TRUE(opened.ok());
      }
      FaultyFileSystem files(FileSystem::Real());
      DatasetStore store = DatasetStore::Open(files, root.path(), 1 << 20).value();
      files.StopBefore(files.changes() + point);
      bool committed = false;
      {
        auto upload = store.Create("", {});
        const std::vector<double> values = {1, 2, 3};
        committed = (*upload)->Append(View(values, 1)).ok() && (*upload)->Commit().ok();
        reached = files.reached();
        files.Crash(loss, seed);
      }
      DatasetStore after = DatasetStore::Open(FileSystem::Real(), root.path(), 1 << 20).value();
      const auto datasets = *after.List();
      EXPECT_EQ(datasets.size(), FileSystem::Real().List(root.Path("datasets"))->size()) << point;
      EXPECT_GE(datasets.size(), committed ? 1 : 0) << point;
      for (const auto& dataset : datasets)
        EXPECT_THAT(testing::ReadTable(after.OpenRows(dataset.id()))->values, ElementsAre(1, 2, 3)) << point;
      if (committed) break;
    }
  }
}

}  // namespace
}  // namespace densityd::training
