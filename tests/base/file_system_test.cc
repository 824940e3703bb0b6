#include "server/base/file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/posix.h"
#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"

namespace densityd {
namespace {

using ::testing::ElementsAre;
using testing::FaultyFileSystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ReadFile;
using testing::WriteFile;

class FileSystemTest : public ::testing::Test {
 protected:
  std::string Path(std::string_view name) const { return folder_.Path(name); }

  testing::TempFolder folder_;
  FileSystem& files_ = FileSystem::Real();
};

TEST_F(FileSystemTest, WhatIsAppendedIsRead) {
  auto file = files_.Create(Path("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->Append("one ").ok());
  EXPECT_TRUE((*file)->Append(std::string_view("\0two", 4)).ok());
  EXPECT_TRUE((*file)->Sync().ok());
  EXPECT_TRUE((*file)->Close().ok());
  EXPECT_EQ(files_.Read(Path("a"), 100).value(), std::string_view("one \0two", 8));
  EXPECT_EQ(files_.Size(Path("a")).value(), 8u);
  auto more = files_.OpenForAppend(Path("a"));
  ASSERT_TRUE(more.ok());
  EXPECT_TRUE((*more)->Append("!").ok());
  EXPECT_EQ(ReadFile(Path("a")).back(), '!');
  EXPECT_TRUE(files_.Create(Path("a")).ok());
  EXPECT_EQ(files_.Size(Path("a")).value(), 0u);
}

TEST_F(FileSystemTest, ReadIsBounded) {
  WriteFile(Path("a"), "0123456789");
  EXPECT_TRUE(files_.Read(Path("a"), 10).ok());
  const absl::Status status = files_.Read(Path("a"), 9).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr(Path("a")));
}

TEST_F(FileSystemTest, ARangeIsWhatTheFileHoldsOfIt) {
  WriteFile(Path("a"), "0123456789");
  EXPECT_EQ(files_.ReadRange(Path("a"), 0, 4).value(), "0123");
  EXPECT_EQ(files_.ReadRange(Path("a"), 8, 4).value(), "89");
  EXPECT_EQ(files_.ReadRange(Path("a"), 10, 4).value(), "");
  EXPECT_EQ(files_.ReadRange(Path("a"), 1000, uint64_t{1} << 60).value(), "");
  EXPECT_EQ(files_.ReadRange(Path("absent"), 0, 4).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileSystemTest, OnlyRegularFilesAreRead) {
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(files_.Read(Path("pipe"), 10).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(files_.Read(folder_.path(), 10).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FileSystemTest, ErrorsHaveTheirCodeAndNameThePath) {
  WriteFile(Path("file"), "x");
  WriteFile(Path("full/file"), "x");
  const struct {
    absl::Status status;
    absl::StatusCode code;
  } cases[] = {
      {files_.Read(Path("absent"), 1).status(), absl::StatusCode::kNotFound},
      {files_.Read(Path("file/below"), 1).status(), absl::StatusCode::kNotFound},
      {files_.Create(Path("absent/file")).status(), absl::StatusCode::kNotFound},
      {files_.Size(Path("absent")).status(), absl::StatusCode::kNotFound},
      {files_.List(Path("absent")).status(), absl::StatusCode::kNotFound},
      {files_.Remove(Path("absent")), absl::StatusCode::kNotFound},
      {files_.Remove(Path("full")), absl::StatusCode::kAlreadyExists},
      {files_.SyncFolder(Path("absent")), absl::StatusCode::kNotFound},
      {files_.MakeFolder(Path("full")), absl::StatusCode::kAlreadyExists},
      {files_.MakeFolders(Path("file")), absl::StatusCode::kAlreadyExists},
      {files_.RenameExclusive(Path("file"), Path("full")), absl::StatusCode::kAlreadyExists},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(test.status.code(), test.code) << test.status;
    EXPECT_THAT(std::string(test.status.message()), HasSubstr("/")) << test.status;
  }
}

TEST(ErrnoStatusTest, EachReasonHasItsCode) {
  using absl::StatusCode;
  const std::pair<int, StatusCode> cases[] = {
      {ENOENT, StatusCode::kNotFound},          {ENOTDIR, StatusCode::kNotFound},
      {EEXIST, StatusCode::kAlreadyExists},     {ENOTEMPTY, StatusCode::kAlreadyExists},
      {ENOSPC, StatusCode::kResourceExhausted}, {EDQUOT, StatusCode::kResourceExhausted},
      {EMFILE, StatusCode::kResourceExhausted}, {EACCES, StatusCode::kPermissionDenied},
      {EPERM, StatusCode::kPermissionDenied},   {EROFS, StatusCode::kPermissionDenied},
      {EIO, StatusCode::kUnavailable},
  };
  for (const auto& [error, code] : cases) {
    const absl::Status status = ErrnoStatus(error, "write", "/data/x");
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::StartsWith("write /data/x: ")) << status;
  }
}

TEST_F(FileSystemTest, AFullDiskIsResourceExhausted) {
  auto file = files_.OpenForAppend("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->Append("x").code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(FileSystemTest, FoldersAreListedSorted) {
  for (const char* name : {"c", "a", "b"}) WriteFile(Path(name), "");
  EXPECT_THAT(files_.List(folder_.path()).value(), ElementsAre("a", "b", "c"));
}

TEST_F(FileSystemTest, MakeFoldersMakesParentsAndAcceptsWhatExists) {
  EXPECT_TRUE(files_.MakeFolders(Path("a/b/c")).ok());
  EXPECT_TRUE(files_.MakeFolders(Path("a/b/c")).ok());
  EXPECT_TRUE(files_.Exists(Path("a/b/c")).value());
  EXPECT_FALSE(files_.Exists(Path("a/b/d")).value());
}

TEST_F(FileSystemTest, RenameReplacesAndRenameExclusiveDoesNot) {
  WriteFile(Path("a"), "a");
  WriteFile(Path("b"), "b");
  EXPECT_EQ(files_.RenameExclusive(Path("a"), Path("b")).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(Path("b")), "b");
  EXPECT_TRUE(files_.Rename(Path("a"), Path("b")).ok());
  EXPECT_EQ(ReadFile(Path("b")), "a");
  EXPECT_TRUE(files_.RenameExclusive(Path("b"), Path("c")).ok());
  EXPECT_EQ(ReadFile(Path("c")), "a");
}

TEST_F(FileSystemTest, OfManyExclusiveRenamesToOneNameOneWins) {
  constexpr int kThreads = 8;
  std::atomic<int> winners = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    WriteFile(Path(absl::StrCat("from", i, "/file")), "x");
    threads.emplace_back([&, i] {
      absl::Status status = files_.RenameExclusive(Path(absl::StrCat("from", i)), Path("to"));
      winners += status.ok();
      EXPECT_TRUE(status.ok() || absl::IsAlreadyExists(status)) << status;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(winners, 1);
}

TEST_F(FileSystemTest, RemovalFollowsNoLinks) {
  WriteFile(Path("outside/file"), "precious");
  WriteFile(Path("tree/deep/er/file"), "x");
  std::filesystem::create_symlink(Path("outside"), Path("tree/folder_link"));
  std::filesystem::create_symlink(Path("outside/file"), Path("tree/deep/file_link"));
  std::filesystem::create_symlink(Path("outside"), Path("root_link"));
  EXPECT_TRUE(files_.RemoveRecursively(Path("tree")).ok());
  EXPECT_TRUE(files_.RemoveRecursively(Path("root_link")).ok());
  EXPECT_TRUE(files_.RemoveRecursively(Path("absent")).ok());
  EXPECT_THAT(files_.List(folder_.path()).value(), ElementsAre("outside"));
  EXPECT_EQ(ReadFile(Path("outside/file")), "precious");
}

TEST_F(FileSystemTest, LocksExclude) {
  // Atomic for ThreadSanitizer alone, which knows nothing of locks on files: increments in two parts get lost without.
  std::atomic<int> counter = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        auto lock = files_.Lock(Path("lock"));
        ASSERT_TRUE(lock.ok());
        const int seen = counter;
        std::this_thread::yield();
        counter = seen + 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, 200);
}

TEST_F(FileSystemTest, AtomicWritesAreAllOrNothingAtEveryPointOfFailure) {
  for (const auto& [loss, seed] : FaultyFileSystem::Crashes()) {
    for (int point = 0;; ++point) {
      testing::TempFolder folder;
      WriteFile(folder.Path("a"), "old");
      FaultyFileSystem faulty(files_);
      faulty.StopBefore(point);
      const absl::Status status = WriteFileAtomically(faulty, folder.Path("a"), "new");
      if (!faulty.reached()) {
        ASSERT_TRUE(status.ok());
        faulty.Crash(loss, seed);
        EXPECT_EQ(ReadFile(folder.Path("a")), "new") << "a finished write is durable";
        break;
      }
      EXPECT_FALSE(status.ok());
      faulty.Crash(loss, seed);
      EXPECT_THAT(ReadFile(folder.Path("a")), ::testing::AnyOf("old", "new")) << point;
    }
  }
}

TEST_F(FileSystemTest, AFailedAtomicWriteLeavesNothingBehind) {
  for (int point = 0;; ++point) {
    testing::TempFolder folder;
    FaultyFileSystem faulty(files_);
    faulty.FailAt(point, absl::ResourceExhaustedError("no space (injected)"));
    const absl::Status status = WriteFileAtomically(faulty, folder.Path("a"), "new");
    if (!faulty.reached()) break;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    const auto names = files_.List(folder.path()).value();
    EXPECT_THAT(names, ::testing::AnyOf(IsEmpty(), ElementsAre("a"))) << point;
  }
}

}  // namespace
}  // namespace densityd
