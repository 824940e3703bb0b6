// An archive on its way to become a version (docs/model-format.md, "Archives").
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/file_system.h"
#include "server/registry/stored_file_writer.h"
#include "server/registry/tar.h"

namespace densityd::registry {

/// Writes the files of an archive into a temporary folder and checks them against the manifest while they come; of a
/// file's bytes it holds none. Nothing remains of it when it is destroyed, unless the folder was moved to where a
/// version belongs. Not thread-safe.
class VersionImport {
 public:
  /// Makes `folder`. Archives whose files have more than `max_bytes` together are refused (RESOURCE_EXHAUSTED).
  static absl::StatusOr<std::unique_ptr<VersionImport>> Begin(FileSystem& files, std::string folder,
                                                              uint64_t max_bytes);
  ~VersionImport();
  VersionImport(const VersionImport&) = delete;
  VersionImport& operator=(const VersionImport&) = delete;

  /// The next bytes of the archive. INVALID_ARGUMENT for the field "archive", naming the file; RESOURCE_EXHAUSTED;
  /// FAILED_PRECONDITION (from a newer densityd); and the disk's errors.
  absl::Status Append(std::string_view bytes);
  /// All bytes were given: OK where the archive is whole. Every file but the manifest is written and synced then.
  absl::Status Finish();

  /// The manifest, once it came; null before.
  const density::v1::ModelManifest* manifest() const { return manifest_ ? &*manifest_ : nullptr; }
  const std::string& folder() const { return folder_; }
  uint64_t bytes() const { return bytes_; }

 private:
  VersionImport(FileSystem& files, std::string folder, uint64_t max_bytes);
  absl::Status BeginFile(const std::string& name, uint64_t size);
  absl::Status TakeData(std::string_view bytes);
  absl::Status EndFile();
  absl::Status ReadManifest();

  FileSystem* const files_;
  const std::string folder_;
  const uint64_t max_bytes_;
  TarReader reader_;
  uint64_t bytes_ = 0;
  std::string name_;  ///< of the file that is read
  std::optional<std::string> manifest_text_;
  std::optional<std::string> digest_text_;
  std::string* text_ = nullptr;  ///< of the two above, the one that is read
  std::optional<density::v1::ModelManifest> manifest_;
  std::optional<StoredFileWriter> writer_;
  int next_file_ = 0;  ///< of the manifest
};

}  // namespace densityd::registry
