#include "server/registry/version_export.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/registry/manifest.h"
#include "server/registry/tar.h"

namespace densityd::registry {
namespace {

std::string Member(const char* name, const std::string& bytes) {
  return absl::StrCat(TarHeader(name, bytes.size()), bytes, TarPadding(bytes.size()));
}

}  // namespace

VersionExport::VersionExport(FileSystem& files, std::string folder, const density::v1::ModelManifest& manifest,
                             const std::string& manifest_text, const std::string& digest_text)
    : files_(&files),
      folder_(std::move(folder)),
      stored_(manifest.files().begin(), manifest.files().end()),
      waiting_(Member(kManifestDigestFile, digest_text) + Member(kManifestFile, manifest_text)) {}

absl::StatusOr<std::string> VersionExport::Next(size_t max_bytes) {
  if (waiting_.empty() && in_file_) return NextOfFile(max_bytes);
  if (waiting_.empty() && file_ < stored_.size()) {
    in_file_ = true;
    waiting_ = TarHeader(stored_[file_].name(), stored_[file_].bytes());
  } else if (waiting_.empty() && !std::exchange(ended_, true)) {
    waiting_ = TarEnd();
  }
  std::string piece = waiting_.substr(0, max_bytes);
  waiting_.erase(0, piece.size());
  return piece;
}

absl::StatusOr<std::string> VersionExport::NextOfFile(size_t max_bytes) {
  const density::v1::StoredFile& stored = stored_[file_];
  const std::string path = absl::StrCat(folder_, "/", stored.name());
  const uint64_t wanted = std::min<uint64_t>(max_bytes, stored.bytes() - offset_);
  absl::StatusOr<std::string> bytes = files_->ReadRange(path, offset_, wanted);
  if (!bytes.ok()) return bytes;
  if (bytes->size() != wanted) {
    return DataLoss(path, "", absl::StrCat("ends before the ", stored.bytes(), " bytes that the manifest says"));
  }
  sha_.Update(*bytes);
  offset_ += bytes->size();
  if (offset_ < stored.bytes()) return bytes;
  // The last bytes are not handed out before the whole was found to be right.
  if (absl::Status status = CheckFile(); !status.ok()) return status;
  waiting_ = TarPadding(stored.bytes());
  in_file_ = false;
  offset_ = 0;
  ++file_;
  return bytes->empty() ? Next(max_bytes) : std::move(bytes);
}

absl::Status VersionExport::CheckFile() {
  const density::v1::StoredFile& stored = stored_[file_];
  const std::string digest = std::exchange(sha_, Sha256()).HexDigest();
  if (digest == stored.sha256()) return absl::OkStatus();
  return DataLoss(absl::StrCat(folder_, "/", stored.name()), "",
                  absl::StrCat("has SHA-256 ", digest, "; the manifest says ", stored.sha256()));
}

}  // namespace densityd::registry
