// How a version leaves one root and comes into another (docs/model-format.md, "Archives").
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/registry/manifest.h"
#include "server/registry/model_store.h"
#include "server/registry/names.h"
#include "server/registry/safetensors.h"

namespace densityd::registry {

using density::v1::ModelManifest;

absl::StatusOr<VersionExport> ModelStore::Export(std::string_view name, uint64_t version) const {
  if (absl::Status status = CheckModelName("model", name); !status.ok()) return status;
  const absl::StatusOr<ManifestTexts> texts = ReadManifestTexts(name, version);
  if (!texts.ok()) return texts.status();
  const std::string folder = VersionFolder(name, version);
  const absl::StatusOr<ModelManifest> manifest = ParseManifest(texts->manifest, texts->digest, folder, name);
  if (!manifest.ok()) return manifest.status();
  return VersionExport(*files_, folder, *manifest, texts->manifest, texts->digest);
}

absl::StatusOr<std::unique_ptr<VersionImport>> ModelStore::BeginImport(uint64_t max_bytes) {
  return VersionImport::Begin(*files_, TemporaryPath("import"), max_bytes);
}

absl::StatusOr<StoredVersion> ModelStore::ReadImport(const VersionImport& import, std::string_view name) const {
  StoredVersion stored;
  stored.name = std::string(name);
  stored.manifest = *import.manifest();
  stored.manifest.set_name(stored.name);
  const absl::StatusOr<std::string> bytes =
      files_->Read(absl::StrCat(import.folder(), "/", kWeightsFile), import.bytes());
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<std::vector<Tensor>> tensors = ParseSafetensors(*bytes, kWeightsFile);
  if (!tensors.ok()) return InvalidArgument("archive", std::string(tensors.status().message()));
  stored.tensors = *std::move(tensors);
  return stored;
}

absl::StatusOr<uint64_t> ModelStore::PublishImport(const VersionImport& import, std::string_view name) {
  if (absl::Status status = CheckModelName("name", name); !status.ok()) return status;
  ModelManifest manifest = *import.manifest();
  manifest.set_name(std::string(name));
  if (absl::Status status = WriteManifest(*files_, import.folder(), manifest); !status.ok()) return status;
  if (absl::Status status = files_->SyncFolder(import.folder()); !status.ok()) return status;
  return MakeVisible(import.folder(), name);
}

}  // namespace densityd::registry
