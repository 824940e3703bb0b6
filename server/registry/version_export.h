// One stored version as an archive (docs/model-format.md, "Archives").
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/file_system.h"
#include "server/base/sha256.h"

namespace densityd::registry {

/// Reads a version piece by piece and verifies it meanwhile. Not thread-safe.
class VersionExport {
 public:
  /// `manifest_text` and `digest_text` were verified; `folder` is the version's.
  VersionExport(FileSystem& files, std::string folder, const density::v1::ModelManifest& manifest,
                const std::string& manifest_text, const std::string& digest_text);

  /// Keeps `hold` as long as this lives.
  void Hold(std::shared_ptr<const void> hold) { hold_ = std::move(hold); }

  /// The next bytes of the archive, at most `max_bytes` (at least 4096), and none at its end. DATA_LOSS where a file is
  /// not what the manifest says: what was read until then is no archive. NOT_FOUND where the version was deleted.
  absl::StatusOr<std::string> Next(size_t max_bytes);

 private:
  absl::StatusOr<std::string> NextOfFile(size_t max_bytes);
  absl::Status CheckFile();

  FileSystem* files_;
  const std::string folder_;
  const std::vector<density::v1::StoredFile> stored_;
  std::string waiting_;   ///< headers, padding and the manifest: what comes before the file's next bytes
  size_t file_ = 0;       ///< of stored_
  uint64_t offset_ = 0;   ///< in that file
  bool in_file_ = false;  ///< its header was made
  bool ended_ = false;
  Sha256 sha_;
  std::shared_ptr<const void> hold_;
};

}  // namespace densityd::registry
