// Aliases (docs/model-format.md, "aliases.json" and "Changing an alias").
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/registry/model_store.h"
#include "server/registry/names.h"

namespace densityd::registry {
namespace {

using density::v1::Aliases;

bool Contains(const std::vector<uint64_t>& versions, uint64_t version) {
  return std::binary_search(versions.begin(), versions.end(), version);
}

/// What the record means beside these versions.
Aliases ToAliases(std::string_view name, const AliasRecord& record, const std::vector<uint64_t>& versions) {
  Aliases aliases;
  aliases.set_name(std::string(name));
  aliases.set_revision(record.revision);
  auto& map = *aliases.mutable_versions();
  map[kLatest] = versions.back();
  for (const auto& [alias, version] : record.versions) {
    if (alias != kLatest || Contains(versions, version)) map[alias] = version;
  }
  return aliases;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileLock>> ModelStore::LockModel(std::string_view name) const {
  return files_->Lock(absl::StrCat(ModelFolder(name), "/lock"));
}

absl::StatusOr<AliasRecord> ModelStore::ReadAliasRecord(std::string_view name) const {
  const std::string path = absl::StrCat(ModelFolder(name), "/", kAliasFile);
  const absl::StatusOr<uint64_t> size = files_->Size(path);
  if (absl::IsNotFound(size.status())) return AliasRecord();
  if (!size.ok()) return size.status();
  if (*size > kMaxAliasFileBytes) return DataLoss(path, "", absl::StrCat("has ", *size, " bytes"));
  const absl::StatusOr<std::string> text = files_->Read(path, kMaxAliasFileBytes);
  if (!text.ok()) return text.status();
  return ParseAliases(*text, path);
}

absl::Status ModelStore::WriteAliasRecord(std::string_view name, const AliasRecord& record) {
  return WriteFileAtomically(*files_, absl::StrCat(ModelFolder(name), "/", kAliasFile), FormatAliases(record),
                             TemporaryPath("aliases"));
}

absl::StatusOr<Aliases> ModelStore::ReadAliases(std::string_view name) const {
  const absl::StatusOr<std::vector<uint64_t>> versions = Versions(name);
  if (!versions.ok()) return versions.status();
  const absl::StatusOr<AliasRecord> record = ReadAliasRecord(name);
  if (!record.ok()) return record.status();
  return ToAliases(name, *record, *versions);
}

absl::StatusOr<bool> ModelStore::IsLatestSet(std::string_view name) const {
  const absl::StatusOr<Aliases> aliases = ReadAliases(name);
  if (!aliases.ok()) return aliases.status();
  const absl::StatusOr<AliasRecord> record = ReadAliasRecord(name);
  if (!record.ok()) return record.status();
  const auto latest = record->versions.find(kLatest);
  // One that names a version that is gone counts for nothing.
  return latest != record->versions.end() && latest->second == aliases->versions().at(kLatest);
}

absl::StatusOr<Aliases> ModelStore::ChangeAliases(std::string_view name, std::optional<uint64_t> expected_revision,
                                                  const AliasChange& change) {
  // Before the lock: a model that is not there must not get a folder.
  if (absl::Status status = Versions(name).status(); !status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<FileLock>> lock = LockModel(name);
  if (!lock.ok()) return lock.status();
  const absl::StatusOr<std::vector<uint64_t>> versions = Versions(name);
  if (!versions.ok()) return versions.status();
  absl::StatusOr<AliasRecord> record = ReadAliasRecord(name);
  if (!record.ok()) return record.status();
  if (expected_revision && *expected_revision != record->revision) {
    return Aborted("aliases", name,
                   absl::StrCat("the aliases of ", Quote(name), " are at revision ", record->revision, ", not ",
                                *expected_revision, ": they changed meanwhile; read them again"));
  }
  const absl::StatusOr<bool> changed = change(*versions, *record);
  if (!changed.ok()) return changed.status();
  if (*changed) {
    ++record->revision;
    const auto latest = record->versions.find(kLatest);
    if (latest != record->versions.end() && !Contains(*versions, latest->second)) record->versions.erase(latest);
    if (absl::Status status = WriteAliasRecord(name, *record); !status.ok()) return status;
  }
  return ToAliases(name, *record, *versions);
}

absl::StatusOr<Aliases> ModelStore::SetAlias(std::string_view name, std::string_view alias, uint64_t version,
                                             std::optional<uint64_t> expected_revision) {
  if (absl::Status status = CheckAliasName("alias", alias); !status.ok()) return status;
  if (absl::Status status = CheckVersion(name, version); !status.ok()) return status;
  const auto set = [&](const std::vector<uint64_t>& versions, AliasRecord& record) -> absl::StatusOr<bool> {
    if (!Contains(versions, version)) return VersionNotFound(name, version, versions.back());
    uint64_t& named = record.versions[std::string(alias)];
    return std::exchange(named, version) != version;
  };
  return ChangeAliases(name, expected_revision, set);
}

absl::StatusOr<Aliases> ModelStore::DeleteAlias(std::string_view name, std::string_view alias,
                                                std::optional<uint64_t> expected_revision) {
  if (absl::Status status = CheckAliasName("alias", alias); !status.ok()) return status;
  if (alias == kLatest) return InvalidArgument("alias", "latest always exists; set it to another version instead");
  const auto erase = [&](const std::vector<uint64_t>&, AliasRecord& record) -> absl::StatusOr<bool> {
    if (record.versions.erase(std::string(alias)) > 0) return true;
    return NotFound("alias", absl::StrCat(ToAbsl(name), "@", ToAbsl(alias)),
                    absl::StrCat("model ", Quote(name), " has no alias ", Quote(alias)));
  };
  return ChangeAliases(name, expected_revision, erase);
}

}  // namespace densityd::registry
