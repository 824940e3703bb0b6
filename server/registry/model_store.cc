#include "server/registry/model_store.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/sha256.h"
#include "server/base/strings.h"
#include "server/registry/manifest.h"
#include "server/registry/names.h"
#include "server/registry/safetensors.h"

namespace densityd::registry {
namespace {

using density::v1::ModelManifest;
using density::v1::StoredFile;

constexpr char kFormatText[] = "densityd root 1\n";
constexpr uint64_t kMaxDigestFileBytes = 4096;

std::string FormatFile(const std::string& root) { return root + "/FORMAT"; }

/// Makes a folder that stays, even if the machine fails at once.
absl::Status MakeDurableFolder(FileSystem& files, const std::string& folder) {
  const absl::StatusOr<bool> exists = files.Exists(folder);
  if (!exists.ok() || *exists) return exists.status();
  if (absl::Status status = files.MakeFolders(folder); !status.ok()) return status;
  const size_t slash = folder.rfind('/');
  if (slash == std::string::npos) return files.SyncFolder(".");
  return files.SyncFolder(slash == 0 ? "/" : folder.substr(0, slash));
}

/// Checks the root's FORMAT file, or writes it into a root that is new.
absl::Status CheckFormat(FileSystem& files, const std::string& root) {
  const std::string path = FormatFile(root);
  const absl::StatusOr<std::string> format = files.Read(path, 256);
  if (format.ok() && *format == kFormatText) return absl::OkStatus();
  if (format.ok()) {
    return FailedPrecondition("file", path,
                              absl::StrCat(path, ": is ", Quote(*format), "; this program reads ", Quote(kFormatText),
                                           ". Use another --root"));
  }
  if (!absl::IsNotFound(format.status())) return format.status();
  const absl::StatusOr<std::vector<std::string>> names = files.List(root);
  if (!names.ok()) return names.status();
  // What a mounted volume brings, and what others may have made in a root before its first start ended.
  const absl::flat_hash_set<absl::string_view> known = {"lost+found", "tmp", "trainings", "datasets"};
  const auto is_known = [&](const std::string& name) { return known.contains(name); };
  if (!std::all_of(names->begin(), names->end(), is_known)) {
    return FailedPrecondition("file", root,
                              absl::StrCat(root,
                                           ": is not empty and has no FORMAT file, so it is no root of densityd. "
                                           "Use an empty folder as --root"));
  }
  if (absl::Status status = MakeDurableFolder(files, root + "/tmp"); !status.ok()) return status;
  return WriteFileAtomically(files, path, kFormatText, absl::StrCat(root, "/tmp/FORMAT-", UniqueSuffix()));
}

/// Leftovers are only untidy: a disk that is full or read-only must not keep the server from serving.
void EmptyTemporary(FileSystem& files, const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> names = files.List(folder);
  if (!names.ok()) {
    Log(LogLevel::kWarning, "temporary folder not emptied", {{"path", folder}, {"error", names.status().ToString()}});
    return;
  }
  for (const std::string& name : *names) {
    const std::string path = absl::StrCat(folder, "/", name);
    if (absl::Status status = files.RemoveRecursively(path); !status.ok()) {
      Log(LogLevel::kWarning, "temporary folder not emptied", {{"path", path}, {"error", status.ToString()}});
    }
  }
}

}  // namespace

absl::StatusOr<ModelStore> ModelStore::Open(FileSystem& files, std::string root, bool clean_tmp) {
  if (root.empty()) return InvalidArgument("root", "is empty; name a folder");
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  if (absl::Status status = MakeDurableFolder(files, root); !status.ok()) return status;
  if (absl::Status status = CheckFormat(files, root); !status.ok()) return status;
  for (const char* folder : {"/tmp", "/models"}) {
    if (absl::Status status = MakeDurableFolder(files, root + folder); !status.ok()) return status;
  }
  if (clean_tmp) EmptyTemporary(files, root + "/tmp");
  return ModelStore(files, std::move(root));
}

std::string ModelStore::ModelFolder(std::string_view name) const {
  return absl::StrCat(root_, "/models/", ToAbsl(name));
}

std::string ModelStore::VersionFolder(std::string_view name, uint64_t version) const {
  return absl::StrCat(ModelFolder(name), "/", version);
}

std::string ModelStore::TemporaryPath(std::string_view purpose) const {
  return absl::StrCat(temporary_folder_, "/", ToAbsl(purpose), "-", UniqueSuffix());
}

absl::StatusOr<std::vector<std::string>> ModelStore::Models() const {
  absl::StatusOr<std::vector<std::string>> names = files_->List(root_ + "/models");
  if (!names.ok()) return names.status();
  std::vector<std::string> models;
  for (std::string& name : *names) {
    if (!CheckModelName("name", name).ok()) continue;
    // One that cannot be read must not hide the others: whoever looks at it learns why.
    if (!absl::IsNotFound(Versions(name).status())) models.push_back(std::move(name));
  }
  return models;
}

absl::StatusOr<std::vector<uint64_t>> ModelStore::Versions(std::string_view name) const {
  if (absl::Status status = CheckModelName("model", name); !status.ok()) return status;
  const absl::StatusOr<std::vector<std::string>> names = files_->List(ModelFolder(name));
  if (!names.ok() && !absl::IsNotFound(names.status())) return names.status();
  std::vector<uint64_t> versions;
  if (names.ok()) {
    for (const std::string& entry : *names) {
      if (std::optional<uint64_t> version = ParseVersionNumber(entry)) versions.push_back(*version);
    }
  }
  if (versions.empty()) return NotFound("model", name, absl::StrCat("there is no model ", Quote(name)));
  std::sort(versions.begin(), versions.end());
  return versions;
}

absl::Status ModelStore::VersionNotFound(std::string_view name, uint64_t version, uint64_t newest) {
  return NotFound("version", absl::StrCat(ToAbsl(name), "@", version),
                  absl::StrCat("model ", Quote(name), " has no version ", version, "; its newest is ", newest));
}

absl::Status ModelStore::CheckVersion(std::string_view name, uint64_t version) const {
  const absl::StatusOr<std::vector<uint64_t>> versions = Versions(name);
  if (!versions.ok()) return versions.status();
  if (std::binary_search(versions->begin(), versions->end(), version)) return absl::OkStatus();
  return VersionNotFound(name, version, versions->back());
}

absl::StatusOr<std::string> ModelStore::ReadVersionFile(std::string_view name, uint64_t version,
                                                        const std::string& file, uint64_t max_bytes) const {
  const std::string path = absl::StrCat(VersionFolder(name, version), "/", file);
  const absl::StatusOr<uint64_t> size = files_->Size(path);
  if (size.ok() && *size > max_bytes) {
    return DataLoss(path, "", absl::StrCat("has ", *size, " bytes; there should be at most ", max_bytes));
  }
  absl::StatusOr<std::string> bytes = size.ok() ? files_->Read(path, max_bytes) : size.status();
  if (!absl::IsNotFound(bytes.status()) && !absl::IsFailedPrecondition(bytes.status())) return bytes;
  if (absl::Status exists = CheckVersion(name, version); !exists.ok()) return exists;
  return DataLoss(path, "", absl::IsNotFound(bytes.status()) ? "is missing" : "is no regular file");
}

absl::StatusOr<ModelManifest> ModelStore::ReadManifest(std::string_view name, uint64_t version) const {
  if (absl::Status status = CheckModelName("model", name); !status.ok()) return status;
  const absl::StatusOr<ManifestTexts> texts = ReadManifestTexts(name, version);
  if (!texts.ok()) return texts.status();
  return ParseManifest(texts->manifest, texts->digest, VersionFolder(name, version), name);
}

absl::StatusOr<ModelStore::ManifestTexts> ModelStore::ReadManifestTexts(std::string_view name, uint64_t version) const {
  absl::StatusOr<std::string> manifest = ReadVersionFile(name, version, kManifestFile, kMaxManifestBytes);
  if (!manifest.ok()) return manifest.status();
  absl::StatusOr<std::string> digest = ReadVersionFile(name, version, kManifestDigestFile, kMaxDigestFileBytes);
  if (!digest.ok()) return digest.status();
  return ManifestTexts{*std::move(manifest), *std::move(digest)};
}

absl::StatusOr<std::string> ModelStore::ReadStoredFile(std::string_view name, uint64_t version,
                                                       const StoredFile& stored) const {
  absl::StatusOr<std::string> bytes = ReadVersionFile(name, version, stored.name(), stored.bytes());
  if (!bytes.ok()) return bytes;
  const std::string path = absl::StrCat(VersionFolder(name, version), "/", stored.name());
  if (bytes->size() != stored.bytes()) {
    return DataLoss(path, "", absl::StrCat("has ", bytes->size(), " bytes; the manifest says ", stored.bytes()));
  }
  const std::string digest = Sha256Hex(*bytes);
  if (digest != stored.sha256()) {
    return DataLoss(path, "", absl::StrCat("has SHA-256 ", digest, "; the manifest says ", stored.sha256()));
  }
  return bytes;
}

absl::StatusOr<StoredVersion> ModelStore::Read(std::string_view name, uint64_t version) const {
  absl::StatusOr<ModelManifest> manifest = ReadManifest(name, version);
  if (!manifest.ok()) return manifest.status();
  StoredVersion stored;
  stored.name = std::string(name);
  stored.version = version;
  for (const StoredFile& file : manifest->files()) {
    const absl::StatusOr<std::string> bytes = ReadStoredFile(name, version, file);
    if (!bytes.ok()) return bytes.status();
    if (file.name() != kWeightsFile) continue;
    absl::StatusOr<std::vector<Tensor>> tensors =
        ParseSafetensors(*bytes, absl::StrCat(VersionFolder(name, version), "/", kWeightsFile));
    if (!tensors.ok()) return tensors.status();
    stored.tensors = *std::move(tensors);
  }
  stored.manifest = *std::move(manifest);
  return stored;
}

absl::StatusOr<uint64_t> ModelStore::StoredBytes(std::string_view name, uint64_t version) const {
  if (absl::Status status = CheckVersion(name, version); !status.ok()) return status;
  const std::string folder = VersionFolder(name, version);
  const absl::StatusOr<std::vector<std::string>> entries = files_->List(folder);
  if (!entries.ok()) return entries.status();
  uint64_t bytes = 0;
  for (const std::string& entry : *entries) {
    const absl::StatusOr<uint64_t> size = files_->Size(absl::StrCat(folder, "/", entry));
    if (!size.ok()) return size.status();
    bytes += *size;
  }
  return bytes;
}

void ModelStore::RemoveLogged(const std::string& folder) {
  if (absl::Status status = files_->RemoveRecursively(folder); !status.ok()) {
    Log(LogLevel::kWarning, "temporary folder left behind", {{"path", folder}, {"error", status.ToString()}});
  }
}

}  // namespace densityd::registry
