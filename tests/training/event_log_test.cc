#include "server/training/event_log.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "tests/base/temp_folder.h"

namespace densityd::training {
namespace {

using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;

TrainingEvent Step(uint64_t step) {
  TrainingEvent event;
  event.mutable_progress()->set_step(step);
  return event;
}

/// No file of the process grows beyond `bytes` while this lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  sighandler_t handler_;
  rlimit before_ = {};
};

class EventLogTest : public ::testing::Test {
 protected:
  void Append(std::initializer_list<uint64_t> steps) {
    auto writer = EventLogWriter::Open(files_, path_);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (const uint64_t step : steps) ASSERT_TRUE(writer->Append(Step(step), /*durable=*/false).ok());
  }

  static std::vector<uint64_t> Steps(const std::vector<TrainingEvent>& events) {
    std::vector<uint64_t> steps;
    for (const TrainingEvent& event : events) steps.push_back(event.progress().step());
    return steps;
  }

  TempFolder folder_;
  const std::string path_ = folder_.Path("events");
  FileSystem& files_ = FileSystem::Real();
  std::vector<TrainingEvent> events_;
};

TEST_F(EventLogTest, WhatIsAppendedIsReadOnceAndInOrder) {
  EventLogReader reader(files_, path_);
  EXPECT_TRUE(reader.ReadNew(events_).ok());  // not there yet
  Append({1, 2});
  EXPECT_TRUE(reader.ReadNew(events_).ok());
  Append({3});
  EXPECT_TRUE(reader.ReadNew(events_).ok());
  EXPECT_TRUE(reader.ReadNew(events_).ok());
  EXPECT_EQ(Steps(events_), (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_TRUE(events_[0].has_time());
}

// However much of the last record was written, the whole ones before it are read, and the rest when it is there.
TEST_F(EventLogTest, ATornTailIsNoErrorAndIsReadWhenItIsWhole) {
  Append({1, 2});
  const std::string whole = ReadFile(path_);
  Append({3});
  const std::string longer = ReadFile(path_);
  for (size_t size = 0; size < longer.size(); ++size) {
    WriteFile(path_, longer.substr(0, size));
    EventLogReader reader(files_, path_);
    events_.clear();
    EXPECT_TRUE(reader.ReadNew(events_).ok()) << size;
    EXPECT_EQ(events_.size() >= 2, size >= whole.size()) << size;
    WriteFile(path_, longer);
    EXPECT_TRUE(reader.ReadNew(events_).ok()) << size;
    EXPECT_EQ(Steps(events_), (std::vector<uint64_t>{1, 2, 3})) << size;
  }
}

// A disk that is full takes a part of an event.
TEST_F(EventLogTest, AWriterGoesOnWhenTheDiskHasRoomAgain) {
  auto writer = EventLogWriter::Open(files_, path_);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(writer->Append(Step(1), /*durable=*/true).ok());
  {
    const FileSizeLimit full(ReadFile(path_).size() + 10);
    const absl::Status status = writer->Append(Step(2), /*durable=*/false);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_FALSE(writer->Append(Step(3), /*durable=*/false).ok());
  }
  EXPECT_TRUE(writer->Append(Step(4), /*durable=*/false).ok());
  EXPECT_TRUE(writer->Append(Step(5), /*durable=*/true).ok());
  EventLogReader reader(files_, path_);
  EXPECT_TRUE(reader.ReadNew(events_).ok());
  EXPECT_EQ(Steps(events_), (std::vector<uint64_t>{1, 4, 5}));
}

TEST_F(EventLogTest, AWriterCutsATornTailOffAndGoesOn) {
  Append({1, 2});
  const std::string whole = ReadFile(path_);
  for (size_t size = 0; size < whole.size(); ++size) {
    WriteFile(path_, whole.substr(0, size));
    Append({7});
    EventLogReader reader(files_, path_);
    events_.clear();
    EXPECT_TRUE(reader.ReadNew(events_).ok()) << size;
    ASSERT_FALSE(events_.empty()) << size;
    EXPECT_EQ(events_.back().progress().step(), 7) << size;
  }
}

// What a file that was not synced may hold behind its last synced byte when the power failed.
std::vector<std::string> UnsyncedTails() {
  std::string garbage(3000, '\0');
  for (size_t i = 0; i < garbage.size(); ++i) garbage[i] = static_cast<char>(i * i * 31 + 7);
  const std::string whole = EncodeRecord(Step(9).SerializeAsString());
  std::string flipped = whole;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  return {std::string(1, '\0'),
          std::string(4096, '\0'),
          std::string(4096, '\0') + whole,
          garbage,
          garbage + whole,
          std::string(20, '\xff') + whole,
          flipped,
          flipped + whole};
}

TEST_F(EventLogTest, AWriterCutsADamagedTailOffAndGoesOnAndReadersWithIt) {
  for (const std::string& tail : UnsyncedTails()) {
    WriteFile(path_, std::string(kRecordFileMagic));
    Append({1, 2});
    WriteFile(path_, ReadFile(path_) + tail);
    EventLogReader reader(files_, path_);
    events_.clear();
    reader.ReadNew(events_).IgnoreError();
    reader.ReadNew(events_).IgnoreError();
    EXPECT_EQ(Steps(events_), (std::vector<uint64_t>{1, 2}));
    Append({3});
    EXPECT_TRUE(reader.ReadNew(events_).ok());
    EXPECT_EQ(Steps(events_), (std::vector<uint64_t>{1, 2, 3}));
  }
}

TEST_F(EventLogTest, ALogThatIsNoneIsBegunAnew) {
  WriteFile(path_, std::string(500, '\0'));
  Append({1});
  EventLogReader reader(files_, path_);
  EXPECT_TRUE(reader.ReadNew(events_).ok());
  EXPECT_EQ(Steps(events_), (std::vector<uint64_t>{1}));
}

TEST_F(EventLogTest, EveryFlippedBitOfAWholeRecordIsFound) {
  Append({1});
  Append({2});
  const std::string whole = ReadFile(path_);
  for (size_t byte = 0; byte < whole.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << bit));
      WriteFile(path_, damaged);
      EventLogReader reader(files_, path_);
      events_.clear();
      const absl::Status status = reader.ReadNew(events_);
      // A length that grew beyond the end looks like a record that is still being written.
      EXPECT_LT(events_.size(), 2) << byte;
      EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
    }
  }
}

}  // namespace
}  // namespace densityd::training
