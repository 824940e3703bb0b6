#include "server/base/hidden_root.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "server/base/errors.h"
#include "server/base/strings.h"
#include "tests/base/temp_folder.h"

namespace densityd {
namespace {

using densityd::testing::TempFolder;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(HiddenRoot, LeavesPathsRelativeToIt) {
  const TempFolder folder;
  const HiddenRoot root(folder.path());
  EXPECT_EQ(root.In(folder.Path("models/power/3/weights.safetensors") + ": is missing"),
            "models/power/3/weights.safetensors: is missing");
  EXPECT_EQ(root.In("open " + folder.Path("a") + " and \"" + folder.Path("b") + "\""), "open a and \"b\"");
}

TEST(HiddenRoot, LeavesOtherPathsAlone) {
  const TempFolder folder;
  const HiddenRoot root(folder.path());
  for (const std::string& text :
       {std::string("no path"), "/elsewhere" + folder.Path("a"), folder.path() + "-other/a"}) {
    EXPECT_EQ(root.In(text), text);
  }
}

TEST(HiddenRoot, KnowsWhereItsLinkLeads) {
  const TempFolder folder;
  std::filesystem::create_directory(folder.Path("real"));
  std::filesystem::create_directory_symlink(folder.Path("real"), folder.Path("link"));
  const HiddenRoot root(folder.Path("link"));
  EXPECT_EQ(root.In(folder.Path("link/a") + " " + folder.Path("real/b")), "a b");
}

TEST(HiddenRoot, HidesInTheDetailsOfAStatus) {
  const TempFolder folder;
  const HiddenRoot root(folder.path());
  const absl::Status hidden = root.In(DataLoss(folder.Path("models/power/3/manifest.json"), "files", "is wrong"));
  EXPECT_EQ(hidden.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(hidden.message(), "models/power/3/manifest.json: files: is wrong");
  int details = 0;
  hidden.ForEachPayload([&](absl::string_view, const absl::Cord& payload) {
    ++details;
    EXPECT_THAT(std::string(payload), Not(HasSubstr(folder.path())));
    EXPECT_THAT(std::string(payload), HasSubstr("models/power/3/manifest.json"));
  });
  EXPECT_EQ(details, 1);
  EXPECT_TRUE(root.In(absl::OkStatus()).ok());
}

TEST(HiddenRoot, OfNothingHidesNothing) { EXPECT_EQ(HiddenRoot().In("/a/b"), "/a/b"); }

}  // namespace
}  // namespace densityd
