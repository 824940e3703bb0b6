#include "server/registry/model_manager.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/background.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/registry/model_manager_impl.h"
#include "server/registry/names.h"

namespace densityd::registry {
namespace {

using density::v1::Aliases;
using density::v1::ModelDetail;
using density::v1::ModelInfo;
using density::v1::ModelManifest;
using density::v1::VersionInfo;

}  // namespace

ModelManager::ModelManager(ModelStore& store, Loader loader, ModelMemory memory, ModelEvents events,
                           Retention retention)
    : impl_(std::make_unique<Impl>(store, std::move(loader), memory, std::move(events), retention)) {}

ModelManager::~ModelManager() = default;

void ModelManager::LoadAll(absl::FunctionRef<bool()> stop) {
  const absl::StatusOr<std::vector<std::string>> names = impl_->store.Models();
  if (!names.ok()) {
    Log(LogLevel::kError, "models not listed", {{"error", names.status().ToString()}});
    return;
  }
  for (const std::string& name : *names) {
    if (stop()) return;
    if (absl::Status status = impl_->Refresh(name); !status.ok()) {
      Log(LogLevel::kError, "model not read", {{"model", name}, {"error", status.ToString()}});
      continue;
    }
    const absl::StatusOr<Aliases> aliases = impl_->store.ReadAliases(name);
    impl_->catalog.SetAliases(name, impl_->store.hidden_root().In(aliases));
    impl_->LoadAliased(name, aliases);
    impl_->FallBack(name, stop);
    impl_->Retire(name);
  }
}

absl::StatusOr<ModelHandle> ModelManager::Acquire(std::string_view reference) const {
  return impl_->catalog.Acquire(reference);
}

absl::StatusOr<VersionInfo> ModelManager::Load(std::string_view reference) {
  const absl::StatusOr<ModelReference> parsed = ParseModelReference("model", reference);
  if (!parsed.ok()) return parsed.status();
  if (absl::Status status = impl_->Refresh(parsed->name); !status.ok()) return status;
  // The aliases on disk say what to load, but are followed only when it is there to answer.
  const absl::StatusOr<Aliases> aliases = impl_->store.ReadAliases(parsed->name);
  const absl::StatusOr<uint64_t> version = Catalog::ResolveAlias(*parsed, aliases);
  if (!version.ok()) return version.status();
  const VersionKey key{parsed->name, *version};
  if (absl::Status status = impl_->LoadVersion(key, /*pinned=*/true); !status.ok()) return status;
  impl_->FollowAliases(parsed->name);
  impl_->events.Deliver();
  return impl_->catalog.Info(key);
}

absl::StatusOr<VersionInfo> ModelManager::Unload(std::string_view reference) {
  const absl::StatusOr<ModelReference> parsed = ParseModelReference("model", reference);
  if (!parsed.ok()) return parsed.status();
  const absl::StatusOr<VersionKey> key = impl_->catalog.Resolve(*parsed);
  if (!key.ok()) return key.status();
  if (absl::Status status = impl_->catalog.Unload(*key); !status.ok()) return status;
  impl_->events.Deliver();
  return impl_->catalog.Info(*key);
}

absl::Status ModelManager::Delete(std::string_view name, uint64_t version) {
  if (absl::Status status = CheckModelName("name", name); !status.ok()) return status;
  const VersionKey key{std::string(name), version};
  if (absl::Status status = impl_->Refresh(key.name); !status.ok()) return status;
  {
    absl::MutexLock lock(&impl_->changes);
    if (absl::Status status = impl_->catalog.CheckNotLoaded(key); !status.ok()) return status;
    if (absl::Status status = impl_->store.Delete(name, version); !status.ok()) return status;
  }
  Log(LogLevel::kInfo, "version deleted", {{"model", name}, {"version", version}});
  if (absl::Status status = impl_->Refresh(key.name); absl::IsNotFound(status)) return absl::OkStatus();
  const absl::StatusOr<Aliases> aliases = impl_->store.ReadAliases(name);
  impl_->LoadAliased(key.name, aliases);
  impl_->FollowAliases(key.name);
  impl_->events.Deliver();
  return absl::OkStatus();
}

absl::Status ModelManager::OnPublished(std::string_view name, uint64_t version) {
  if (absl::Status status = CheckModelName("model", name); !status.ok()) return status;
  const VersionKey key{std::string(name), version};
  if (absl::Status status = impl_->Refresh(key.name); !status.ok()) return status;
  if (absl::Status status = impl_->LoadVersion(key, /*pinned=*/false); !status.ok()) {
    // Until the server starts again the aliases lead to what they led to: a version that answers.
    return Annotate(status, absl::StrCat(key.Reference(), " is stored, but could not be loaded"));
  }
  const absl::StatusOr<Aliases> aliases = impl_->store.ReadAliases(name);
  impl_->LoadAliased(key.name, aliases);
  impl_->FollowAliases(key.name);
  impl_->events.Deliver();
  impl_->Retire(key.name);
  return absl::OkStatus();
}

absl::StatusOr<density::v1::ReloadFromDiskResponse> ModelManager::ReloadFromDisk(std::string_view name,
                                                                                 bool retry_failed) {
  std::set<std::string> names;
  if (name.empty()) {
    const absl::StatusOr<std::vector<std::string>> stored = impl_->store.Models();
    if (!stored.ok()) return stored.status();
    names.insert(stored->begin(), stored->end());
    for (const ModelInfo& model : impl_->catalog.List()) names.insert(model.name());
  } else {
    if (absl::Status status = CheckModelName("model", name); !status.ok()) return status;
    const bool known = impl_->catalog.Model(std::string(name)).versions_size() > 0;
    if (absl::Status status = impl_->store.Versions(name).status(); !status.ok() && !known) return status;
    names.insert(std::string(name));
  }
  density::v1::ReloadFromDiskResponse changes;
  for (const std::string& model : names) {
    if (absl::Status status = impl_->Reload(model, retry_failed, changes); !status.ok()) {
      if (!name.empty()) return status;
      status = impl_->store.hidden_root().In(status);
      density::v1::ReloadFailure& failure = *changes.add_failed();
      failure.set_model(model);
      failure.set_error_code(static_cast<int>(status.code()));
      failure.set_error(std::string(status.message()));
      continue;
    }
    impl_->Retire(model);
  }
  const int changed = changes.added_size() + changes.removed_size() + changes.moved_size();
  if (changed > 0) {
    Log(LogLevel::kInfo, "models reloaded from disk",
        {{"added", changes.added_size()}, {"removed", changes.removed_size()}, {"moved", changes.moved_size()}});
  }
  return changes;
}

absl::StatusOr<VersionExport> ModelManager::Export(std::string_view reference) const {
  const absl::StatusOr<ModelReference> parsed = ParseModelReference("model", reference);
  if (!parsed.ok()) return parsed.status();
  const absl::StatusOr<VersionKey> key = impl_->catalog.Resolve(*parsed);
  if (!key.ok()) return key.status();
  absl::StatusOr<std::shared_ptr<const void>> hold = impl_->catalog.HoldFiles(*key);
  if (!hold.ok()) return hold.status();
  absl::StatusOr<VersionExport> archive = impl_->store.Export(key->name, key->version);
  if (archive.ok()) archive->Hold(*std::move(hold));
  return archive;
}

absl::StatusOr<std::unique_ptr<VersionImport>> ModelManager::BeginImport(uint64_t max_bytes) {
  return impl_->store.BeginImport(max_bytes);
}

absl::StatusOr<VersionInfo> ModelManager::Import(const VersionImport& import, std::string_view name) {
  if (absl::Status status = CheckModelName("name", name); !status.ok()) return status;
  const std::string model(name);
  absl::Status loads;
  RunInBackground([&] { loads = impl_->TryToLoad(import, model); });
  if (!loads.ok()) return loads;
  const absl::StatusOr<uint64_t> version = impl_->store.PublishImport(import, model);
  if (!version.ok()) return version.status();
  Log(LogLevel::kInfo, "version imported", {{"model", model}, {"version", *version}});
  if (absl::Status status = OnPublished(model, *version); !status.ok()) return status;
  return impl_->catalog.Info({model, *version});
}

absl::StatusOr<Aliases> ModelManager::SetAlias(const density::v1::SetAliasRequest& request) {
  if (absl::Status status = CheckModelName("name", request.name()); !status.ok()) return status;
  if (absl::Status status = CheckAliasName("alias", request.alias()); !status.ok()) return status;
  if (absl::Status status = impl_->Refresh(request.name()); !status.ok()) return status;
  // Loaded first, so that no call through the alias finds a version that does not answer.
  const VersionKey key{request.name(), request.version()};
  if (absl::Status status = impl_->LoadVersion(key, /*pinned=*/false); !status.ok()) {
    return Annotate(status, absl::StrCat("the alias ", request.alias(), " was not moved"));
  }
  const std::optional<uint64_t> expected =
      request.has_expected_revision() ? std::optional<uint64_t>(request.expected_revision()) : std::nullopt;
  absl::StatusOr<Aliases> aliases = impl_->store.SetAlias(request.name(), request.alias(), request.version(), expected);
  if (!aliases.ok()) return aliases;
  impl_->FollowAliases(request.name());
  Log(LogLevel::kInfo, "alias set",
      {{"model", request.name()}, {"alias", request.alias()}, {"version", request.version()}});
  impl_->events.Deliver();
  return aliases;
}

absl::StatusOr<Aliases> ModelManager::DeleteAlias(const density::v1::DeleteAliasRequest& request) {
  if (absl::Status status = CheckModelName("name", request.name()); !status.ok()) return status;
  const std::optional<uint64_t> expected =
      request.has_expected_revision() ? std::optional<uint64_t>(request.expected_revision()) : std::nullopt;
  absl::StatusOr<Aliases> aliases = impl_->store.DeleteAlias(request.name(), request.alias(), expected);
  if (!aliases.ok()) return aliases;
  impl_->FollowAliases(request.name());
  Log(LogLevel::kInfo, "alias deleted", {{"model", request.name()}, {"alias", request.alias()}});
  impl_->events.Deliver();
  return aliases;
}

absl::StatusOr<std::vector<ModelInfo>> ModelManager::List() const { return impl_->catalog.List(); }

absl::StatusOr<ModelDetail> ModelManager::Get(std::string_view reference) const {
  const absl::StatusOr<ModelReference> parsed = ParseModelReference("model", reference);
  if (!parsed.ok()) return parsed.status();
  const absl::StatusOr<VersionKey> key = impl_->catalog.Resolve(*parsed);
  if (!key.ok()) return key.status();
  absl::StatusOr<VersionInfo> info = impl_->catalog.Info(*key);
  if (!info.ok()) return info.status();
  absl::StatusOr<ModelManifest> manifest = impl_->store.ReadManifest(key->name, key->version);
  if (!manifest.ok()) return manifest.status();
  ModelDetail detail;
  *detail.mutable_info() = *std::move(info);
  *detail.mutable_manifest() = *std::move(manifest);
  return detail;
}

}  // namespace densityd::registry
