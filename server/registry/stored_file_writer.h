// A file of a version while it is written.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/file_system.h"
#include "server/base/sha256.h"

namespace densityd::registry {

/// Counts and digests what is written, and syncs it at the end. Not thread-safe.
class StoredFileWriter {
 public:
  static absl::StatusOr<StoredFileWriter> Create(FileSystem& files, const std::string& folder, std::string name);

  absl::Status Append(std::string_view bytes);
  /// What the manifest says of the file. Call once, last.
  absl::StatusOr<density::v1::StoredFile> Finish();

 private:
  StoredFileWriter(std::unique_ptr<WritableFile> file, std::string name);

  std::unique_ptr<WritableFile> file_;
  Sha256 sha_;
  density::v1::StoredFile stored_;
};

/// Writes manifest.json and manifest.sha256 into `folder`, and syncs both.
absl::Status WriteManifest(FileSystem& files, const std::string& folder, const density::v1::ModelManifest& manifest);

}  // namespace densityd::registry
