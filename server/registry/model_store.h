// Model versions and aliases on disk. The format is described in docs/model-format.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/file_system.h"
#include "server/base/hidden_root.h"
#include "server/registry/alias_file.h"
#include "server/registry/servable.h"
#include "server/registry/tensor.h"
#include "server/registry/version_export.h"
#include "server/registry/version_import.h"

namespace densityd::registry {

/// The folder `<root>/models`. Thread-safe, and safe beside other processes that use the same root: version numbers are
/// chosen and aliases are changed under a file lock. Cheap to copy. Every function answers INVALID_ARGUMENT for a bad
/// name before it comes near a path, and the errors of FileSystem for the disk's own.
class ModelStore {
 public:
  /// Opens `root`, or makes it with its FORMAT file. FAILED_PRECONDITION where it has another format, or is no empty
  /// folder and has none. `clean_tmp` empties <root>/tmp: only for the one server that owns the root.
  static absl::StatusOr<ModelStore> Open(FileSystem& files, std::string root, bool clean_tmp);

  /// From now on half-written work goes to `folder`, which exists and is on the root's file system, instead of
  /// <root>/tmp: for processes that do not own the root, whose work its owner could not tell from leftovers.
  void UseTemporaryFolder(std::string folder) { temporary_folder_ = std::move(folder); }

  /// Writes a version and makes it visible, all or nothing: files and folders are synced before the rename. Fills in
  /// `format`, `name`, `create_time` where unset, and `files`. Returns the new version's number. INVALID_ARGUMENT where
  /// tensors do not make a file (see LayOutSafetensors).
  absl::StatusOr<uint64_t> Publish(std::string_view name, density::v1::ModelManifest manifest,
                                   const std::vector<Tensor>& tensors);

  /// A version as an archive, whose manifest is verified already. NOT_FOUND; DATA_LOSS; FAILED_PRECONDITION as
  /// ReadManifest.
  absl::StatusOr<VersionExport> Export(std::string_view name, uint64_t version) const;
  /// Begins to take an archive of at most `max_bytes`.
  absl::StatusOr<std::unique_ptr<VersionImport>> BeginImport(uint64_t max_bytes);
  /// The version that a finished import holds, under `name`, read and checked as Read does. INVALID_ARGUMENT where its
  /// tensors make no sense.
  absl::StatusOr<StoredVersion> ReadImport(const VersionImport& import, std::string_view name) const;
  /// Publishes a finished import under `name`, which takes the place of the archive's. Returns the new version's
  /// number.
  absl::StatusOr<uint64_t> PublishImport(const VersionImport& import, std::string_view name);

  /// Names of all models that have a version, sorted; those whose folder cannot be read are among them.
  absl::StatusOr<std::vector<std::string>> Models() const;
  /// Versions of a model, ascending, damaged ones included. NOT_FOUND where it has none.
  absl::StatusOr<std::vector<uint64_t>> Versions(std::string_view name) const;

  /// Reads the manifest. NOT_FOUND; DATA_LOSS; FAILED_PRECONDITION for a format that is newer than this program.
  absl::StatusOr<density::v1::ModelManifest> ReadManifest(std::string_view name, uint64_t version) const;
  /// Reads a whole version and verifies sizes, SHA-256 and structure: the tensors in the order of the file, larger
  /// elements first. NOT_FOUND; DATA_LOSS naming file and section; FAILED_PRECONDITION as ReadManifest.
  absl::StatusOr<StoredVersion> Read(std::string_view name, uint64_t version) const;
  /// Bytes of a version on disk. NOT_FOUND.
  absl::StatusOr<uint64_t> StoredBytes(std::string_view name, uint64_t version) const;
  /// Removes a version: renamed into tmp/ first, so that nobody sees a part. Its number is never given again.
  /// FAILED_PRECONDITION while an alias other than `latest` names it. NOT_FOUND; DATA_LOSS (aliases).
  absl::Status Delete(std::string_view name, uint64_t version);
  /// The same, but FAILED_PRECONDITION also while `latest` names it, set or not: for what nobody asked to be deleted.
  absl::Status Retire(std::string_view name, uint64_t version);

  /// Shortens what is told of errors to paths below the root.
  const HiddenRoot& hidden_root() const { return hidden_root_; }

  /// Aliases of a model; `latest` is always there: the newest version unless it was set. NOT_FOUND; DATA_LOSS.
  absl::StatusOr<density::v1::Aliases> ReadAliases(std::string_view name) const;
  /// Whether `latest` was set, rather than being the newest version by itself. DATA_LOSS.
  absl::StatusOr<bool> IsLatestSet(std::string_view name) const;
  /// Compare-and-set. Setting what is set already changes nothing. NOT_FOUND (model or version), ABORTED (revision),
  /// INVALID_ARGUMENT (alias name), DATA_LOSS.
  absl::StatusOr<density::v1::Aliases> SetAlias(std::string_view name, std::string_view alias, uint64_t version,
                                                std::optional<uint64_t> expected_revision);
  /// NOT_FOUND, ABORTED, INVALID_ARGUMENT for `latest`, DATA_LOSS.
  absl::StatusOr<density::v1::Aliases> DeleteAlias(std::string_view name, std::string_view alias,
                                                   std::optional<uint64_t> expected_revision);

 private:
  ModelStore(FileSystem& files, std::string root)
      : files_(&files), root_(std::move(root)), temporary_folder_(root_ + "/tmp"), hidden_root_(root_) {}

  std::string ModelFolder(std::string_view name) const;
  std::string VersionFolder(std::string_view name, uint64_t version) const;
  std::string TemporaryPath(std::string_view purpose) const;

  /// A file of a version, at most `max_bytes` long. NOT_FOUND where the whole version is absent; DATA_LOSS where only
  /// the file is, or where it is longer.
  absl::StatusOr<std::string> ReadVersionFile(std::string_view name, uint64_t version, const std::string& file,
                                              uint64_t max_bytes) const;
  absl::StatusOr<std::string> ReadStoredFile(std::string_view name, uint64_t version,
                                             const density::v1::StoredFile& stored) const;
  struct ManifestTexts {
    std::string manifest;
    std::string digest;
  };
  /// manifest.json and manifest.sha256, not verified. Errors as ReadVersionFile.
  absl::StatusOr<ManifestTexts> ReadManifestTexts(std::string_view name, uint64_t version) const;
  /// NOT_FOUND.
  absl::Status CheckVersion(std::string_view name, uint64_t version) const;
  static absl::Status VersionNotFound(std::string_view name, uint64_t version, uint64_t newest);

  /// Writes the files of a version into `folder`, which it makes. Fills in the manifest's `files`.
  absl::Status WriteVersion(const std::string& folder, density::v1::ModelManifest& manifest,
                            const std::vector<Tensor>& tensors);
  absl::StatusOr<density::v1::StoredFile> WriteWeights(const std::string& folder, const std::vector<Tensor>& tensors);
  /// Moves a written version to its number.
  absl::StatusOr<uint64_t> MakeVisible(const std::string& folder, std::string_view name);
  /// Delete, or Retire.
  absl::Status Remove(std::string_view name, uint64_t version, bool even_latest);
  void RemoveLogged(const std::string& folder);

  absl::StatusOr<std::unique_ptr<FileLock>> LockModel(std::string_view name) const;
  absl::StatusOr<AliasRecord> ReadAliasRecord(std::string_view name) const;
  /// The lock is held by the caller.
  absl::Status WriteAliasRecord(std::string_view name, const AliasRecord& record);
  /// Applies `change` to the aliases under the lock, if they are at `expected_revision`; true where it changed them.
  using AliasChange = std::function<absl::StatusOr<bool>(const std::vector<uint64_t>& versions, AliasRecord& record)>;
  absl::StatusOr<density::v1::Aliases> ChangeAliases(std::string_view name, std::optional<uint64_t> expected_revision,
                                                     const AliasChange& change);

  FileSystem* files_;
  std::string root_;
  std::string temporary_folder_;
  HiddenRoot hidden_root_;
};

}  // namespace densityd::registry
