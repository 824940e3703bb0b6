// Model versions and aliases on disk. The format is described in docs/model-format.md.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/file_system.h"
#include "server/registry/servable.h"
#include "server/registry/tensor.h"

namespace densityd::registry {

/// The folder `<root>/models`. Thread-safe, and safe beside other processes that use the same root: publishing picks
/// its version number by an exclusive rename, and alias changes take a file lock.
class ModelStore {
 public:
  /// Opens `root`, or makes it with its FORMAT file. FAILED_PRECONDITION where it has another format.
  /// `clean_tmp` empties <root>/tmp: only for the one server that owns the root.
  static absl::StatusOr<ModelStore> Open(FileSystem& files, std::string root, bool clean_tmp);

  /// Writes a version and makes it visible, all or nothing: files and folders are synced before the rename. Fills in
  /// `format`, `name`, `create_time` where unset, and `files`. Returns the new version's number.
  absl::StatusOr<uint64_t> Publish(std::string_view name, density::v1::ModelManifest manifest,
                                   const std::vector<Tensor>& tensors);

  /// Names of all models that have a version, sorted.
  absl::StatusOr<std::vector<std::string>> Models() const;
  /// Versions of a model, ascending. NOT_FOUND where it has none.
  absl::StatusOr<std::vector<uint64_t>> Versions(std::string_view name) const;

  /// Reads the manifest. NOT_FOUND; DATA_LOSS.
  absl::StatusOr<density::v1::ModelManifest> ReadManifest(std::string_view name, uint64_t version) const;
  /// Reads a whole version and verifies sizes, SHA-256 and structure. NOT_FOUND; DATA_LOSS naming file and section.
  absl::StatusOr<StoredVersion> Read(std::string_view name, uint64_t version) const;
  /// Bytes of a version on disk.
  absl::StatusOr<uint64_t> StoredBytes(std::string_view name, uint64_t version) const;
  /// Removes a version: renamed into tmp/ first, so that nobody sees a part. FAILED_PRECONDITION while an alias other
  /// than `latest` names it. NOT_FOUND.
  absl::Status Delete(std::string_view name, uint64_t version);

  /// Aliases of a model; `latest` is always there: the newest version unless it was set. NOT_FOUND; DATA_LOSS.
  absl::StatusOr<density::v1::Aliases> ReadAliases(std::string_view name) const;
  /// Compare-and-set. NOT_FOUND (model or version), ABORTED (revision), INVALID_ARGUMENT (alias name).
  absl::StatusOr<density::v1::Aliases> SetAlias(std::string_view name, std::string_view alias, uint64_t version,
                                                std::optional<uint64_t> expected_revision);
  /// NOT_FOUND, ABORTED, INVALID_ARGUMENT for `latest`.
  absl::StatusOr<density::v1::Aliases> DeleteAlias(std::string_view name, std::string_view alias,
                                                   std::optional<uint64_t> expected_revision);

 private:
  ModelStore(FileSystem& files, std::string root) : files_(&files), root_(std::move(root)) {}

  FileSystem* files_;
  std::string root_;
};

}  // namespace densityd::registry
