#include "server/registry/version_import.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/registry/manifest.h"

namespace densityd::registry {
namespace {

constexpr uint64_t kMaxDigestBytes = 4096;

absl::Status Bad(const std::string& problem) { return InvalidArgument("archive", problem); }

}  // namespace

absl::StatusOr<std::unique_ptr<VersionImport>> VersionImport::Begin(FileSystem& files, std::string folder,
                                                                    uint64_t max_bytes) {
  if (absl::Status status = files.MakeFolder(folder); !status.ok()) return status;
  return std::unique_ptr<VersionImport>(new VersionImport(files, std::move(folder), max_bytes));
}

VersionImport::VersionImport(FileSystem& files, std::string folder, uint64_t max_bytes)
    : files_(&files),
      folder_(std::move(folder)),
      max_bytes_(max_bytes),
      reader_({.begin = [this](const std::string& name, uint64_t size) { return BeginFile(name, size); },
               .data = [this](std::string_view bytes) { return TakeData(bytes); },
               .end = [this] { return EndFile(); }}) {}

VersionImport::~VersionImport() {
  writer_.reset();
  if (absl::Status status = files_->RemoveRecursively(folder_); !status.ok()) {
    Log(LogLevel::kWarning, "temporary folder left behind", {{"path", folder_}, {"error", status.ToString()}});
  }
}

absl::Status VersionImport::Append(std::string_view bytes) { return reader_.Append(bytes); }

absl::Status VersionImport::Finish() {
  if (absl::Status status = reader_.Finish(); !status.ok()) return status;
  if (!manifest_) return Bad(absl::StrCat("has no ", kManifestFile, " with its ", kManifestDigestFile));
  if (next_file_ < manifest_->files_size()) {
    return Bad(absl::StrCat("lacks ", Quote(manifest_->files(next_file_).name()), ", which its manifest lists"));
  }
  return absl::OkStatus();
}

absl::Status VersionImport::BeginFile(const std::string& name, uint64_t size) {
  name_ = name;
  if (size > max_bytes_ - bytes_) {
    return ResourceExhausted("bytes", absl::StrCat("archive: ", Quote(name), " of ", size,
                                                   " bytes makes it larger than --max-import-bytes, ", max_bytes_));
  }
  bytes_ += size;
  const auto take_text = [&](std::optional<std::string>& text, uint64_t limit) {
    if (size > limit) return Bad(absl::StrCat(name, " has ", size, " bytes; the limit is ", limit));
    text_ = &text.emplace();
    return absl::OkStatus();
  };
  if (name == kManifestFile && !manifest_text_) return take_text(manifest_text_, kMaxManifestBytes);
  if (name == kManifestDigestFile && !digest_text_) return take_text(digest_text_, kMaxDigestBytes);
  if (!manifest_) {
    return Bad(absl::StrCat("begins with ", Quote(name), "; ", kManifestDigestFile, " and ", kManifestFile,
                            " come before what they vouch for"));
  }
  if (next_file_ >= manifest_->files_size() || manifest_->files(next_file_).name() != name) {
    return Bad(absl::StrCat(
        "has ", Quote(name), " where its manifest lists ",
        next_file_ < manifest_->files_size() ? Quote(manifest_->files(next_file_).name()) : "nothing more"));
  }
  if (manifest_->files(next_file_).bytes() != size) {
    return Bad(
        absl::StrCat(Quote(name), " has ", size, " bytes; the manifest says ", manifest_->files(next_file_).bytes()));
  }
  absl::StatusOr<StoredFileWriter> writer = StoredFileWriter::Create(*files_, folder_, name);
  if (!writer.ok()) return writer.status();
  writer_.emplace(*std::move(writer));
  return absl::OkStatus();
}

absl::Status VersionImport::TakeData(std::string_view bytes) {
  if (text_ == nullptr) return writer_->Append(bytes);
  text_->append(bytes);
  return absl::OkStatus();
}

absl::Status VersionImport::EndFile() {
  if (std::exchange(text_, nullptr) != nullptr) {
    return manifest_text_ && digest_text_ ? ReadManifest() : absl::OkStatus();
  }
  const absl::StatusOr<density::v1::StoredFile> written = writer_->Finish();
  writer_.reset();
  if (!written.ok()) return written.status();
  const std::string& listed = manifest_->files(next_file_).sha256();
  if (written->sha256() != listed) {
    return Bad(absl::StrCat(Quote(name_), " has SHA-256 ", written->sha256(), "; the manifest says ", listed));
  }
  ++next_file_;
  return absl::OkStatus();
}

absl::Status VersionImport::ReadManifest() {
  absl::StatusOr<density::v1::ModelManifest> manifest = ParseAnyManifest(*manifest_text_, *digest_text_, "archive");
  // What a store would call damage is a bad request here.
  if (absl::IsDataLoss(manifest.status())) return Bad(std::string(manifest.status().message()));
  if (!manifest.ok()) return manifest.status();
  for (const density::v1::StoredFile& file : manifest->files()) {
    if (file.name() == kManifestFile || file.name() == kManifestDigestFile) {
      return Bad(absl::StrCat(kManifestFile, " lists ", file.name(), ", which is no file of a model"));
    }
  }
  *manifest_text_ = std::string();
  manifest_ = *std::move(manifest);
  return absl::OkStatus();
}

}  // namespace densityd::registry
