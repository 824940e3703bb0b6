// How a version comes and goes (docs/model-format.md, "Publishing a version", "Deleting a version").
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/registry/manifest.h"
#include "server/registry/model_store.h"
#include "server/registry/names.h"
#include "server/registry/safetensors.h"
#include "server/registry/stored_file_writer.h"

namespace densityd::registry {
namespace {

using density::v1::ModelManifest;
using density::v1::StoredFile;

void SetToNow(google::protobuf::Timestamp& time) {
  const absl::Time now = absl::Now();
  const int64_t seconds = absl::ToUnixSeconds(now);
  time.set_seconds(seconds);
  time.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(now - absl::FromUnixSeconds(seconds))));
}

}  // namespace

absl::StatusOr<uint64_t> ModelStore::Publish(std::string_view name, ModelManifest manifest,
                                             const std::vector<Tensor>& tensors) {
  if (absl::Status status = CheckModelName("model", name); !status.ok()) return status;
  manifest.set_format(kManifestFormat);
  manifest.set_name(std::string(name));
  if (!manifest.has_create_time()) SetToNow(*manifest.mutable_create_time());
  const std::string folder = TemporaryPath("publish");
  absl::Status written = WriteVersion(folder, manifest, tensors);
  absl::StatusOr<uint64_t> version = written.ok() ? MakeVisible(folder, name) : std::move(written);
  if (!version.ok()) RemoveLogged(folder);
  return version;
}

absl::Status ModelStore::WriteVersion(const std::string& folder, ModelManifest& manifest,
                                      const std::vector<Tensor>& tensors) {
  if (absl::Status status = files_->MakeFolder(folder); !status.ok()) return status;
  absl::StatusOr<StoredFile> weights = WriteWeights(folder, tensors);
  if (!weights.ok()) return weights.status();
  manifest.clear_files();
  *manifest.add_files() = *std::move(weights);
  if (absl::Status status = WriteManifest(*files_, folder, manifest); !status.ok()) return status;
  return files_->SyncFolder(folder);
}

absl::StatusOr<StoredFile> ModelStore::WriteWeights(const std::string& folder, const std::vector<Tensor>& tensors) {
  const absl::StatusOr<SafetensorsLayout> layout = LayOutSafetensors(tensors);
  if (!layout.ok()) return layout.status();
  absl::StatusOr<StoredFileWriter> writer = StoredFileWriter::Create(*files_, folder, kWeightsFile);
  if (!writer.ok()) return writer.status();
  if (absl::Status status = writer->Append(layout->header); !status.ok()) return status;
  for (const Tensor* tensor : layout->tensors) {
    if (absl::Status status = writer->Append(tensor->data); !status.ok()) return status;
  }
  return writer->Finish();
}

absl::StatusOr<uint64_t> ModelStore::MakeVisible(const std::string& folder, std::string_view name) {
  const std::string model = ModelFolder(name);
  if (absl::Status status = files_->MakeFolders(model); !status.ok()) return status;
  if (absl::Status status = files_->SyncFolder(root_ + "/models"); !status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<FileLock>> lock = LockModel(name);
  if (!lock.ok()) return lock.status();
  const absl::StatusOr<std::vector<uint64_t>> versions = Versions(name);
  if (!versions.ok() && !absl::IsNotFound(versions.status())) return versions.status();
  const absl::StatusOr<AliasRecord> record = ReadAliasRecord(name);
  if (!record.ok()) return record.status();
  const uint64_t version = 1 + std::max(versions.ok() ? versions->back() : 0, record->highest_deleted);
  if (version > kMaxVersion) return ResourceExhausted("versions", absl::StrCat(model, ": version numbers are used up"));
  if (absl::Status status = files_->RenameExclusive(folder, VersionFolder(name, version)); !status.ok()) return status;
  if (absl::Status status = files_->SyncFolder(model); !status.ok()) {
    return Annotate(status, absl::StrCat("version ", version, " of ", ToAbsl(name),
                                         " was published, but could vanish if the machine fails now"));
  }
  return version;
}

absl::Status ModelStore::Delete(std::string_view name, uint64_t version) {
  return Remove(name, version, /*even_latest=*/true);
}

absl::Status ModelStore::Retire(std::string_view name, uint64_t version) {
  return Remove(name, version, /*even_latest=*/false);
}

absl::Status ModelStore::Remove(std::string_view name, uint64_t version, bool even_latest) {
  if (absl::Status status = CheckVersion(name, version); !status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<FileLock>> lock = LockModel(name);
  if (!lock.ok()) return lock.status();
  if (absl::Status status = CheckVersion(name, version); !status.ok()) return status;
  absl::StatusOr<AliasRecord> record = ReadAliasRecord(name);
  if (!record.ok()) return record.status();
  std::vector<std::string> aliases;
  for (const auto& [alias, named] : record->versions) {
    if (named == version && alias != kLatest) aliases.push_back(alias);
  }
  if (!even_latest) {
    const absl::StatusOr<density::v1::Aliases> named = ReadAliases(name);
    if (!named.ok()) return named.status();
    if (named->versions().at(kLatest) == version) aliases.emplace_back(kLatest);
  }
  const std::string reference = absl::StrCat(ToAbsl(name), "@", version);
  if (!aliases.empty()) {
    return FailedPrecondition("version", reference,
                              absl::StrCat(reference, " is named by the alias ", absl::StrJoin(aliases, ", "),
                                           "; move or delete the alias first"));
  }
  if (version > record->highest_deleted) {
    record->highest_deleted = version;
    if (absl::Status status = WriteAliasRecord(name, *record); !status.ok()) return status;
  }
  const std::string removed = TemporaryPath("deleted");
  if (absl::Status status = files_->RenameExclusive(VersionFolder(name, version), removed); !status.ok()) return status;
  if (absl::Status status = files_->SyncFolder(ModelFolder(name)); !status.ok()) return status;
  RemoveLogged(removed);
  return absl::OkStatus();
}

}  // namespace densityd::registry
