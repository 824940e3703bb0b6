#include "server/base/beneath.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/base/temp_folder.h"

namespace densityd {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// Both ways of opening: with openat2 and without.
class BeneathTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    testing::WriteFile(folder_.Path("root/rows.csv"), "1,2\n");
    testing::WriteFile(folder_.Path("root/deep/er/rows.csv"), "3,4\n");
    testing::WriteFile(folder_.Path("secret.csv"), "5,6\n");
  }
  absl::StatusOr<std::string> Read(std::string_view path) {
    absl::StatusOr<FileDescriptor> fd = internal::OpenBeneath(folder_.Path("root"), "file", path, GetParam());
    if (!fd.ok()) return fd.status();
    return ReadDescriptor(fd->get(), path, 1000);
  }
  void Link(const std::string& target, const std::string& name) {
    std::filesystem::create_symlink(target, folder_.Path("root/" + name));
  }

  testing::TempFolder folder_;
};

TEST_P(BeneathTest, ReadsFilesBelowTheRoot) {
  EXPECT_EQ(Read("rows.csv").value(), "1,2\n");
  EXPECT_EQ(Read("deep/er/rows.csv").value(), "3,4\n");
  EXPECT_EQ(Read("./deep//er/./rows.csv").value(), "3,4\n");
}

TEST_P(BeneathTest, NothingLeadsOut) {
  const std::string outside = folder_.Path("secret.csv");
  Link(outside, "absolute_link");
  Link("../secret.csv", "relative_link");
  Link("..", "folder_link");
  Link("/proc/self/root", "magic_link");
  for (const std::string& path :
       {std::string(""), outside, std::string("../secret.csv"), std::string("deep/../../secret.csv"),
        std::string("deep/.."), std::string("absolute_link"), std::string("relative_link"),
        std::string("folder_link/secret.csv"), "magic_link" + outside, std::string("rows.csv\0.txt", 12),
        std::string(5000, 'a')}) {
    const absl::Status status = Read(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path << ": " << status;
    EXPECT_THAT(std::string(status.message()), StartsWith("file: ")) << path;
  }
}

TEST_P(BeneathTest, LinksThatStayBelowTheRootAreNotFollowedEither) {
  Link("rows.csv", "inner_link");
  Link("deep", "inner_folder");
  EXPECT_THAT(std::string(Read("inner_link").status().message()), HasSubstr("symbolic link"));
  EXPECT_THAT(std::string(Read("inner_folder/er/rows.csv").status().message()), HasSubstr("symbolic link"));
}

TEST_P(BeneathTest, AbsentFilesAreNotFound) {
  for (const char* path : {"absent.csv", "absent/rows.csv", "rows.csv/more"}) {
    EXPECT_EQ(Read(path).status().code(), absl::StatusCode::kNotFound) << path;
  }
}

TEST_P(BeneathTest, FoldersAndPipesAreRefusedWithoutWaiting) {
  ASSERT_EQ(mkfifo(folder_.Path("root/pipe").c_str(), 0600), 0);
  EXPECT_EQ(Read("deep").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Read("pipe").status().code(), absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Ways, BeneathTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "openat2" : "step_by_step"; });

TEST(ReadBeneathTest, TheSizeIsBounded) {
  testing::TempFolder folder;
  testing::WriteFile(folder.Path("ten"), "0123456789");
  EXPECT_EQ(ReadBeneath(folder.path(), "file", "ten", 10).value(), "0123456789");
  const absl::Status status = ReadBeneath(folder.path(), "file", "ten", 9).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("has 10 bytes; the limit is 9"));
}

}  // namespace
}  // namespace densityd
