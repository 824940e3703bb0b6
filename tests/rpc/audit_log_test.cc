// That the audit log's lines stay whole on a disk that does not.
#include "server/rpc/audit_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"

namespace densityd::rpc {
namespace {

using densityd::testing::FaultyFileSystem;
using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::ElementsAre;

class AuditLogTest : public ::testing::Test {
 protected:
  void Record(AuditLog& log, const std::string& subject) {
    AuditRecord record;
    record.subject = subject;
    log.Record(record);
  }
  /// The subjects of the lines that are records, "?" for others.
  std::vector<std::string> Subjects() const {
    std::vector<std::string> subjects;
    for (const auto line : absl::StrSplit(ReadFile(file_), '\n', absl::SkipEmpty())) {
      const auto record = nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
      subjects.push_back(record.is_discarded() ? "?" : record["subject"].get<std::string>());
    }
    return subjects;
  }
  /// What a write leaves that ends where the disk is full.
  void CutShort(size_t bytes) const {
    const std::string text = ReadFile(file_);
    WriteFile(file_, text.substr(0, text.size() - bytes));
  }

  const TempFolder folder_;
  const std::string file_ = folder_.Path("audit.jsonl");
};

TEST_F(AuditLogTest, ARecordThatAFullDiskCutShortSpoilsNoOther) {
  FaultyFileSystem files(FileSystem::Real());
  AuditLog log(files, file_, Clock::Real());
  ASSERT_TRUE(log.CheckWritable().ok());
  Record(log, "first");
  Record(log, "second");
  files.FailAt(files.changes() + 1,
               absl::ResourceExhaustedError("no space left"));  // the append, of which half gets through
  Record(log, "lost");
  ASSERT_TRUE(files.reached());
  Record(log, "third");
  Record(log, "fourth");
  EXPECT_THAT(Subjects(), ElementsAre("first", "second", "?", "third", "fourth"));
  EXPECT_EQ(ReadFile(file_).find("\n\n"), std::string::npos) << "no empty lines";
}

TEST_F(AuditLogTest, AServerThatStartsEndsTheLineOfTheOneBefore) {
  {
    AuditLog log(FileSystem::Real(), file_, Clock::Real());
    Record(log, "first");
    Record(log, "second");
  }
  CutShort(1);
  AuditLog log(FileSystem::Real(), file_, Clock::Real());
  Record(log, "third");
  EXPECT_THAT(Subjects(), ElementsAre("first", "second", "third"));
}

}  // namespace
}  // namespace densityd::rpc
