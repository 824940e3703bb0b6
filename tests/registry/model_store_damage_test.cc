// Damaged files are found, named, and never served.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/sha256.h"
#include "server/registry/model_store.h"
#include "tests/base/temp_folder.h"
#include "tests/registry/sample_version.h"

namespace densityd::registry {
namespace {

using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::OpenStore;
using testing::SampleManifest;
using testing::SampleTensors;

class DamageTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(store_.Publish("power", SampleManifest(), SampleTensors()).ok());
    ASSERT_TRUE(store_.Publish("power", SampleManifest(), SampleTensors()).ok());
  }
  std::string File(std::string_view name) const {
    return folder_.Path(absl::StrCat("models/power/1/", absl::string_view(name.data(), name.size())));
  }
  /// Version 1 must be refused, naming `file`; version 2 must be fine.
  void ExpectDamaged(std::string_view file) {
    const absl::Status status = store_.Read("power", 1).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("models/power/1/", std::string(file))));
  }
  /// Writes a manifest with a matching digest.
  void WriteManifest(const std::string& text) {
    WriteFile(File("manifest.json"), text);
    WriteFile(File("manifest.sha256"), Sha256Hex(text) + "  manifest.json\n");
  }

  TempFolder folder_;
  ModelStore store_ = OpenStore(FileSystem::Real(), folder_.path());
};

TEST_F(DamageTest, FlippedBitsAreFound) {
  std::mt19937 random(1);
  for (const char* file : {"weights.safetensors", "manifest.json", "manifest.sha256"}) {
    const std::string good = ReadFile(File(file));
    for (int round = 0; round < 150; ++round) {
      std::string bad = good;
      bad[random() % bad.size()] ^= static_cast<char>(1 << (random() % 8));
      WriteFile(File(file), bad);
      // A digest that does not match cannot tell which of the two files is the damaged one.
      ExpectDamaged(std::string_view(file).starts_with("manifest") ? "manifest." : file);
    }
    WriteFile(File(file), good);
    ASSERT_TRUE(store_.Read("power", 1).ok());
  }
  EXPECT_TRUE(store_.Read("power", 2).ok());
}

TEST_F(DamageTest, CutFilesAreFound) {
  for (const char* file : {"weights.safetensors", "manifest.json", "manifest.sha256"}) {
    const std::string good = ReadFile(File(file));
    for (size_t size = 0; size < good.size(); size += 1 + good.size() / 97) {
      WriteFile(File(file), good.substr(0, size));
      ExpectDamaged(std::string_view(file).starts_with("manifest") ? "manifest." : file);
    }
    WriteFile(File(file), good + "x");
    ExpectDamaged(std::string_view(file).starts_with("manifest") ? "manifest." : file);
    WriteFile(File(file), good);
  }
}

TEST_F(DamageTest, AbsentFilesAreDataLossNotNotFound) {
  for (const char* file : {"weights.safetensors", "manifest.json", "manifest.sha256"}) {
    const std::string good = ReadFile(File(file));
    std::filesystem::remove(File(file));
    ExpectDamaged(file);
    std::filesystem::create_directory(File(file));
    ExpectDamaged(file);
    std::filesystem::remove(File(file));
    WriteFile(File(file), good);
  }
}

TEST_F(DamageTest, AFileInPlaceOfTheVersionIsDataLoss) {
  std::filesystem::remove_all(folder_.Path("models/power/1"));
  WriteFile(folder_.Path("models/power/1"), "x");
  ExpectDamaged("manifest.json");
}

TEST_F(DamageTest, AManifestThatIsConsistentButWrongIsFound) {
  const std::string good = ReadFile(File("manifest.json"));
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& text :
       {std::string("{}"), std::string("[]"), std::string("not json"), std::string(""),
        replaced("\"name\": \"power\"", "\"name\": \"gas\""), replaced("\"format\": 1", "\"format\": 0"),
        replaced("weights.safetensors", "../../../../secret"), replaced("weights.safetensors", "other"),
        replaced("\"format\": 1", "\"format\": 1, \"unknown\": 1"), replaced("\"sha256\": \"", "\"sha256\": \"XYZ"),
        std::string(200'000, '[')}) {
    WriteManifest(text);
    ExpectDamaged("manifest.json");
  }
}

TEST_F(DamageTest, ANewerFormatIsNoDamage) {
  std::string text = ReadFile(File("manifest.json"));
  text.replace(text.find("\"format\": 1"), 11, "\"format\": 2, \"new_field\": {}");
  WriteManifest(text);
  const absl::Status status = store_.Read("power", 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("newer densityd"));
}

TEST_F(DamageTest, DamagedAliasesAreFoundAndVersionsStillWork) {
  ASSERT_TRUE(store_.SetAlias("power", "stable", 1, {}).ok());
  const std::string path = folder_.Path("models/power/aliases.json");
  const std::string good = ReadFile(path);
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    if (round % 3 == 0) bad.resize(random() % (bad.size() - 1));
    if (round % 3 != 0) bad[random() % bad.size()] ^= static_cast<char>(1 << (random() % 8));
    WriteFile(path, bad);
    const auto aliases = store_.ReadAliases("power");
    // White space is not covered by the checksum; all that means something is.
    if (aliases.ok()) {
      EXPECT_EQ(aliases->versions().at("stable"), 1u) << bad;
      EXPECT_EQ(aliases->revision(), 1u) << bad;
    } else {
      EXPECT_EQ(aliases.status().code(), absl::StatusCode::kDataLoss) << bad;
      EXPECT_THAT(std::string(aliases.status().message()), HasSubstr("models/power/aliases.json"));
      EXPECT_EQ(store_.SetAlias("power", "canary", 1, {}).status().code(), absl::StatusCode::kDataLoss);
    }
  }
  EXPECT_TRUE(store_.Read("power", 1).ok());
  std::filesystem::remove(path);
  EXPECT_EQ(store_.ReadAliases("power")->versions().at("latest"), 2u);
}

TEST_F(DamageTest, AHugeManifestIsRefusedUnread) {
  std::filesystem::resize_file(File("manifest.json"), uint64_t{1} << 40);
  ExpectDamaged("manifest.json");
}

TEST_F(DamageTest, HugeWeightsAreRefusedUnread) {
  std::filesystem::resize_file(File("weights.safetensors"), uint64_t{1} << 40);
  ExpectDamaged("weights.safetensors");
}

}  // namespace
}  // namespace densityd::registry
