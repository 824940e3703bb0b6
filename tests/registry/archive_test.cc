// Archives of versions: out of one root and into another, and what is refused on the way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "server/base/sha256.h"
#include "server/registry/manifest.h"
#include "server/registry/model_store.h"
#include "server/registry/tar.h"
#include "tests/base/faulty_file_system.h"
#include "tests/base/temp_folder.h"
#include "tests/registry/sample_version.h"

namespace densityd::registry {
namespace {

using densityd::testing::FaultyFileSystem;
using densityd::testing::ReadFile;
using densityd::testing::TempFolder;
using densityd::testing::WriteFile;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::OpenStore;
using testing::SampleManifest;
using testing::SampleTensors;

constexpr uint64_t kNoLimit = uint64_t{1} << 40;

absl::StatusOr<std::string> ExportAll(const ModelStore& store, uint64_t version, size_t piece = 4096) {
  auto source = store.Export("power", version);
  if (!source.ok()) return source.status();
  std::string archive;
  while (true) {
    auto next = source->Next(piece);
    if (!next.ok()) return next;
    if (next->empty()) return archive;
    EXPECT_LE(next->size(), piece);
    archive += *next;
  }
}

/// Imports an archive that comes in pieces.
absl::StatusOr<uint64_t> ImportAll(ModelStore& store, const std::string& archive, const std::string& name = "power",
                                   size_t piece = 1000, uint64_t limit = kNoLimit) {
  auto import = store.BeginImport(limit);
  if (!import.ok()) return import.status();
  for (size_t at = 0; at < archive.size(); at += piece) {
    if (auto status = (*import)->Append(std::string_view(archive).substr(at, piece)); !status.ok()) return status;
  }
  if (auto status = (*import)->Finish(); !status.ok()) return status;
  if (auto stored = store.ReadImport(**import, name); !stored.ok()) return stored.status();
  return store.PublishImport(**import, name);
}

std::string Member(const std::string& name, const std::string& bytes) {
  return TarHeader(name, bytes.size()) + bytes + TarPadding(bytes.size());
}

class ArchiveTest : public ::testing::Test {
 protected:
  ArchiveTest() : store_(OpenStore(FileSystem::Real(), folder_.path())) {
    EXPECT_TRUE(store_.Publish("power", SampleManifest(), SampleTensors()).ok());
    archive_ = ExportAll(store_, 1).value();
  }
  std::string File(const std::string& name) const { return folder_.Path("models/power/1/" + name); }
  /// Nothing was published, and nothing is left over.
  void ExpectNothingChanged() {
    EXPECT_EQ(store_.Versions("power").value().size(), 1);
    EXPECT_THAT(FileSystem::Real().List(folder_.Path("tmp")).value(), IsEmpty());
  }
  void ExpectRefused(const std::string& archive, const std::string& says = "archive") {
    const auto version = ImportAll(store_, archive);
    EXPECT_EQ(version.status().code(), absl::StatusCode::kInvalidArgument) << version.status();
    EXPECT_THAT(std::string(version.status().message()), HasSubstr(says));
    ExpectNothingChanged();
  }

  const TempFolder folder_;
  ModelStore store_;
  std::string archive_;
};

TEST_F(ArchiveTest, BringsAVersionIntoAnotherRootUnchanged) {
  const TempFolder other;
  ModelStore target = OpenStore(FileSystem::Real(), other.path());
  for (const size_t piece : {size_t{1}, size_t{511}, size_t{512}, size_t{1} << 20}) {
    const auto version = ImportAll(target, archive_, "power", piece);
    ASSERT_TRUE(version.ok()) << version.status();
    for (const char* file : {kManifestFile, kManifestDigestFile, kWeightsFile}) {
      EXPECT_EQ(ReadFile(other.Path("models/power/" + std::to_string(*version) + "/" + file)), ReadFile(File(file)));
    }
    EXPECT_TRUE(target.Read("power", *version).ok());
  }
  EXPECT_THAT(FileSystem::Real().List(other.Path("tmp")).value(), IsEmpty());
  EXPECT_EQ(ExportAll(target, 1, 1 << 20).value(), archive_);
}

TEST_F(ArchiveTest, TakesAnotherNameAlong) {
  ASSERT_TRUE(ImportAll(store_, archive_, "gas").ok());
  const auto manifest = store_.ReadManifest("gas", 1);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->name(), "gas");
}

TEST_F(ArchiveTest, IsATarOfTheVersionsFiles) {
  const TempFolder out;
  WriteFile(out.Path("a.tar"), archive_);
  ASSERT_EQ(std::system(("cd " + out.path() + " && tar xf a.tar && sha256sum --quiet -c manifest.sha256").c_str()), 0);
  EXPECT_EQ(ReadFile(out.Path(kWeightsFile)), ReadFile(File(kWeightsFile)));
  // And one that tar makes is as good.
  ASSERT_EQ(
      std::system(("cd " + out.path() + " && tar cf b.tar manifest.json manifest.sha256 weights.safetensors").c_str()),
      0);
  EXPECT_TRUE(ImportAll(store_, ReadFile(out.Path("b.tar"))).ok());
}

TEST_F(ArchiveTest, OfADamagedVersionEndsWithDataLoss) {
  std::string weights = ReadFile(File(kWeightsFile));
  weights[weights.size() / 2] ^= 1;
  WriteFile(File(kWeightsFile), weights);
  EXPECT_EQ(ExportAll(store_, 1).status().code(), absl::StatusCode::kDataLoss);
  WriteFile(File(kWeightsFile), weights.substr(1));
  EXPECT_EQ(ExportAll(store_, 1).status().code(), absl::StatusCode::kDataLoss);
  WriteFile(File(kManifestFile), "{}");
  EXPECT_EQ(store_.Export("power", 1).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(store_.Export("power", 7).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ArchiveTest, WithAnyFlippedByteIsRefusedOrTheSame) {
  const auto same = [&](const std::string& root, uint64_t version) {
    return ReadFile(root + "/models/power/" + std::to_string(version) + "/weights.safetensors") ==
           ReadFile(File(kWeightsFile));
  };
  int refused = 0;
  for (size_t at = 0; at < archive_.size(); at += 37) {
    std::string damaged = archive_;
    damaged[at] ^= 0x20;
    const auto version = ImportAll(store_, damaged, "power", damaged.size());
    refused += version.ok() ? 0 : 1;
    if (version.ok()) {
      EXPECT_TRUE(same(folder_.path(), *version)) << at;
    } else {
      EXPECT_EQ(version.status().code(), absl::StatusCode::kInvalidArgument) << at << version.status();
    }
  }
  EXPECT_GT(refused, 50);
  EXPECT_THAT(FileSystem::Real().List(folder_.Path("tmp")).value(), IsEmpty());
}

TEST_F(ArchiveTest, CutOffAnywhereIsRefused) {
  // The last block of zeros may be missing a few bytes of nothing, but not a whole one.
  for (size_t bytes = 0; bytes <= archive_.size() - kTarBlock; bytes += 101) {
    const auto version = ImportAll(store_, archive_.substr(0, bytes), "power", bytes + 1);
    EXPECT_EQ(version.status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
  ExpectNothingChanged();
}

TEST_F(ArchiveTest, WithHostileMembersIsRefused) {
  const std::string digest = ReadFile(File(kManifestDigestFile));
  const std::string manifest = ReadFile(File(kManifestFile));
  const std::string weights = ReadFile(File(kWeightsFile));
  const std::string head = Member(kManifestDigestFile, digest) + Member(kManifestFile, manifest);
  for (const char* name : {"../weights.safetensors", "/etc/passwd", "weights.safetensors/", "./weights.safetensors",
                           "weights", "WEIGHTS.SAFETENSORS"}) {
    ExpectRefused(head + Member(name, weights) + TarEnd());
  }
  ExpectRefused(head + Member(kWeightsFile, weights) + Member("extra", "x") + TarEnd(), "nothing more");
  ExpectRefused(head + Member(kWeightsFile, weights) + Member(kWeightsFile, weights) + TarEnd(), "nothing more");
  ExpectRefused(head + Member(kManifestFile, manifest) + TarEnd());
  ExpectRefused(head + TarEnd(), "lacks");
  ExpectRefused(Member(kWeightsFile, weights) + head + TarEnd(), "come before");
  ExpectRefused(TarEnd(), "has no");
  ExpectRefused(head + Member(kWeightsFile, weights + "0") + TarEnd(), "the manifest says");
  ExpectRefused(archive_ + "x", "behind its end");
  ExpectRefused(std::string(100000, 'x'), "no tar");
  std::string link = TarHeader(kWeightsFile, 0);
  for (const char type : {'1', '2', '3', '5', 'x', 'L', 'K'}) {
    link[156] = type;
    uint64_t sum = 0;
    for (size_t i = 0; i < link.size(); ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(link[i]);
    char text[8];
    snprintf(text, sizeof(text), "%06o", static_cast<unsigned>(sum));
    link.replace(148, 7, std::string(text, 7));
    ExpectRefused(head + link + TarEnd(), "no plain file");
  }
}

TEST_F(ArchiveTest, OverTheLimitIsRefusedBeforeItIsWritten) {
  for (const std::string& archive : {archive_, TarHeader(kManifestFile, uint64_t{1} << 60)}) {
    const auto version = ImportAll(store_, archive, "power", 1000, 100);
    EXPECT_EQ(version.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(version.status().message()), HasSubstr("--max-import-bytes"));
  }
  ExpectNothingChanged();
}

TEST_F(ArchiveTest, WhoseManifestListsItselfIsRefused) {
  auto manifest = SampleManifest();
  manifest.set_format(kManifestFormat);
  manifest.set_name("power");
  for (const char* name : {kWeightsFile, kManifestFile}) {
    auto& file = *manifest.add_files();
    file.set_name(name);
    file.set_sha256(Sha256Hex(""));
  }
  const std::string text = FormatManifest(manifest).value();
  ExpectRefused(Member(kManifestFile, text) + Member(kManifestDigestFile, FormatManifestDigest(text)) + TarEnd(),
                "no file of a model");
}

TEST_F(ArchiveTest, StoppedAnywherePublishesAllOrNothing) {
  for (const auto& [loss, seed] : FaultyFileSystem::Crashes()) {
    for (int point = 0;; ++point) {
      const TempFolder root;
      OpenStore(FileSystem::Real(), root.path());
      FaultyFileSystem faulty(FileSystem::Real());
      ModelStore store = OpenStore(faulty, root.path());
      faulty.StopBefore(faulty.changes() + point);
      const auto version = ImportAll(store, archive_);
      faulty.Crash(loss, seed);
      ModelStore reopened = OpenStore(FileSystem::Real(), root.path());
      EXPECT_THAT(FileSystem::Real().List(root.Path("tmp")).value(), IsEmpty());
      const bool there = reopened.Versions("power").ok();
      EXPECT_EQ(reopened.Read("power", 1).ok(), there) << point;
      if (faulty.reached()) continue;
      EXPECT_TRUE(version.ok()) << version.status();
      EXPECT_TRUE(there) << "what was answered OK is durable";
      EXPECT_GT(point, 8);
      break;
    }
  }
}

TEST(Tar, CarriesSizesBeyondEightGigabytes) {
  for (const uint64_t size : {(uint64_t{1} << 33) - 1, uint64_t{1} << 33, uint64_t{1} << 40}) {
    uint64_t told = 0;
    TarReader reader({.begin =
                          [&](const std::string&, uint64_t bytes) {
                            told = bytes;
                            return absl::OkStatus();
                          },
                      .data = [](std::string_view) { return absl::OkStatus(); },
                      .end = [] { return absl::OkStatus(); }});
    ASSERT_TRUE(reader.Append(TarHeader("big", size)).ok());
    EXPECT_EQ(told, size);
  }
}

}  // namespace
}  // namespace densityd::registry
