#include "server/registry/model_manager.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/base/background.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/registry/catalog.h"
#include "server/registry/names.h"

namespace densityd::registry {
namespace {

using density::v1::Aliases;
using density::v1::ModelDetail;
using density::v1::ModelInfo;
using density::v1::ModelManifest;
using density::v1::VersionInfo;

VersionInfo FactsOf(const ModelManifest& manifest, uint64_t stored_bytes) {
  VersionInfo facts;
  facts.set_stored_bytes(stored_bytes);
  *facts.mutable_create_time() = manifest.create_time();
  facts.set_features(manifest.spec().features());
  facts.set_context_features(manifest.spec().context_features());
  return facts;
}

}  // namespace

struct ModelManager::Impl {
  Impl(ModelStore& store, Loader loader, size_t max_model_bytes, ModelEvents events, Retention retention)
      : store(store),
        loader(std::move(loader)),
        retention(retention),
        events(std::move(events.on_change)),
        catalog(max_model_bytes, this->events) {}

  /// Takes up what other processes published or deleted.
  absl::Status Refresh(const std::string& name);
  absl::Status LoadVersion(const VersionKey& key, bool pinned);
  absl::StatusOr<std::shared_ptr<const Servable>> MakeServable(const VersionKey& key);
  /// Whether a version could be loaded; it is not kept. INVALID_ARGUMENT; RESOURCE_EXHAUSTED.
  absl::Status TryToLoad(const VersionImport& import, const std::string& name);
  /// ReloadFromDisk for one model.
  absl::Status Reload(const std::string& name, bool retry_failed, density::v1::ReloadFromDiskResponse& changes);
  /// Loads what the aliases of a model name; failures are kept in the versions' states. Without `retry_failed`, what
  /// failed before, or was unloaded by hand, is left alone.
  void LoadAliased(const std::string& name, const absl::StatusOr<Aliases>& aliases, bool retry_failed = true);
  /// Follows the aliases of a model as they are on disk now; where one names a version that does not answer, it goes on
  /// to name the one that it named, while that answers.
  void FollowAliases(const std::string& name);
  /// Deletes versions of a model that need not stay.
  void Retire(const std::string& name);

  ModelStore& store;
  const Loader loader;
  const Retention retention;
  EventQueue events;
  Catalog catalog;
  /// Held while a version is loaded or deleted: one at a time, so that the memory in use is known. Never held by
  /// Acquire, Unload, List or Get.
  absl::Mutex changes;
  /// Held from listing the versions on disk to taking them up, so that nobody forgets what came after its list. Last.
  absl::Mutex refreshing;
  /// Held from reading aliases to following them, so that who follows last has read last.
  absl::Mutex following;
};

absl::Status ModelManager::Impl::Refresh(const std::string& name) {
  absl::MutexLock lock(&refreshing);
  const absl::StatusOr<std::vector<uint64_t>> versions = store.Versions(name);
  if (absl::IsNotFound(versions.status())) catalog.Forget(name, {});
  if (!versions.ok()) return versions.status();
  catalog.Forget(name, *versions);
  for (uint64_t version : *versions) {
    const VersionKey key{name, version};
    if (catalog.Knows(key)) continue;
    const absl::StatusOr<ModelManifest> manifest = store.ReadManifest(name, version);
    // Deleted meanwhile.
    if (absl::IsNotFound(manifest.status())) continue;
    const uint64_t bytes = store.StoredBytes(name, version).value_or(0);
    catalog.Add(key, manifest.ok() ? FactsOf(*manifest, bytes) : VersionInfo(),
                store.hidden_root().In(manifest.status()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Servable>> ModelManager::Impl::MakeServable(const VersionKey& key) {
  // The weights as stored are a lower bound of what the version will need: refuse before reading them.
  const absl::StatusOr<uint64_t> stored_bytes = store.StoredBytes(key.name, key.version);
  if (!stored_bytes.ok()) return stored_bytes.status();
  if (absl::Status status = catalog.MakeRoom(key, *stored_bytes); !status.ok()) return status;
  const absl::StatusOr<StoredVersion> stored = store.Read(key.name, key.version);
  if (!stored.ok()) return stored.status();
  absl::StatusOr<std::shared_ptr<const Servable>> servable = loader(*stored);
  if (!servable.ok()) return servable;
  if (absl::Status status = catalog.MakeRoom(key, (*servable)->memory_bytes()); !status.ok()) return status;
  return servable;
}

absl::Status ModelManager::Impl::TryToLoad(const VersionImport& import, const std::string& name) {
  absl::MutexLock lock(&changes);
  const VersionKey key{name, 0};
  if (absl::Status status = catalog.MakeRoom(key, import.bytes()); !status.ok()) return status;
  const absl::StatusOr<StoredVersion> stored = store.ReadImport(import, name);
  if (!stored.ok()) return stored.status();
  const absl::StatusOr<std::shared_ptr<const Servable>> servable = loader(*stored);
  if (!servable.ok()) {
    return InvalidArgument("archive", absl::StrCat("holds a model that cannot be loaded: ",
                                                   store.hidden_root().In(servable.status()).message()));
  }
  return catalog.MakeRoom(key, (*servable)->memory_bytes());
}

absl::Status ModelManager::Impl::Reload(const std::string& name, bool retry_failed,
                                        density::v1::ReloadFromDiskResponse& changes) {
  const auto reference = [&](const auto& suffix) { return absl::StrCat(name, "@", suffix); };
  const ModelInfo before = catalog.Model(name);
  const absl::StatusOr<std::vector<uint64_t>> versions = store.Versions(name);
  if (!versions.ok() && !absl::IsNotFound(versions.status())) return versions.status();
  std::set<uint64_t> present;
  if (versions.ok()) present.insert(versions->begin(), versions->end());
  if (absl::Status status = Refresh(name); !status.ok() && !absl::IsNotFound(status)) return status;
  if (!present.empty()) {
    // Before anything is unloaded: no alias leads to what is about to go.
    LoadAliased(name, store.ReadAliases(name), retry_failed);
    FollowAliases(name);
  } else {
    catalog.SetAliases(name, Aliases());
  }
  std::set<uint64_t> known;
  for (const VersionInfo& info : before.versions()) {
    known.insert(info.version());
    if (present.count(info.version()) > 0) continue;
    changes.add_removed(reference(info.version()));
    // Calls in flight finish; a load in progress fails by itself.
    catalog.Unload({name, info.version()}).IgnoreError();
  }
  Refresh(name).IgnoreError();  // forgets what is gone
  for (const uint64_t version : present) {
    if (known.count(version) == 0) changes.add_added(reference(version));
  }
  const Aliases after = catalog.Model(name).aliases();
  std::set<std::string> names;
  for (const Aliases* side : {&before.aliases(), &after}) {
    for (const auto& [alias, version] : side->versions()) names.insert(alias);
  }
  const auto version_of = [](const Aliases& side, const std::string& alias) {
    const auto found = side.versions().find(alias);
    return found == side.versions().end() ? 0 : found->second;
  };
  for (const std::string& alias : names) {
    if (version_of(before.aliases(), alias) != version_of(after, alias)) changes.add_moved(reference(alias));
  }
  events.Deliver();
  return absl::OkStatus();
}

absl::Status ModelManager::Impl::LoadVersion(const VersionKey& key, bool pinned) {
  absl::Status result;
  {
    absl::MutexLock lock(&changes);
    const absl::StatusOr<bool> needed = catalog.BeginLoad(key, pinned);
    if (!needed.ok()) return needed.status();
    if (*needed) {
      events.Deliver();
      const absl::Time begin = absl::Now();
      absl::StatusOr<std::shared_ptr<const Servable>> servable;
      RunInBackground([&] { servable = MakeServable(key); });
      const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
      result = servable.status();
      if (servable.ok()) {
        catalog.FinishLoad(key, *std::move(servable));
        Log(LogLevel::kInfo, "model loaded", {{"model", key.name}, {"version", key.version}, {"seconds", seconds}});
      } else {
        catalog.FailLoad(key, store.hidden_root().In(result));
        Log(LogLevel::kError, "model not loaded",
            {{"model", key.name}, {"version", key.version}, {"error", result.ToString()}});
      }
    }
  }
  events.Deliver();
  return result;
}

void ModelManager::Impl::FollowAliases(const std::string& name) {
  absl::MutexLock lock(&following);
  absl::StatusOr<Aliases> aliases = store.ReadAliases(name);
  if (aliases.ok()) {
    const ModelInfo model = catalog.Model(name);
    const auto answers = [&](uint64_t version) {
      return std::any_of(model.versions().begin(), model.versions().end(), [&](const VersionInfo& info) {
        return info.version() == version && info.state() == density::v1::READY;
      });
    };
    for (auto& [alias, version] : *aliases->mutable_versions()) {
      const auto old = model.aliases().versions().find(alias);
      if (!answers(version) && old != model.aliases().versions().end() && answers(old->second)) version = old->second;
    }
  }
  catalog.SetAliases(name, store.hidden_root().In(std::move(aliases)));
}

void ModelManager::Impl::LoadAliased(const std::string& name, const absl::StatusOr<Aliases>& aliases,
                                     bool retry_failed) {
  if (!aliases.ok()) {
    Log(LogLevel::kError, "aliases not read", {{"model", name}, {"error", aliases.status().ToString()}});
    return;
  }
  std::set<uint64_t> versions;
  std::set<uint64_t> moved_to;
  const Aliases known = catalog.Model(name).aliases();
  for (const auto& [alias, version] : aliases->versions()) {
    versions.insert(version);
    const auto before = known.versions().find(alias);
    if (before == known.versions().end() || before->second != version) moved_to.insert(version);
  }
  for (uint64_t version : versions) {
    const absl::StatusOr<VersionInfo> info = catalog.Info({name, version});
    if (!retry_failed && info.ok()) {
      const bool idle = info->state() == density::v1::NOT_LOADED || info->state() == density::v1::UNLOADING;
      // An alias that named it before: somebody has unloaded it by hand.
      if (info->state() == density::v1::LOAD_FAILED || (idle && moved_to.count(version) == 0)) continue;
    }
    // The failure is in the version's state and in the log.
    LoadVersion({name, version}, /*pinned=*/false).IgnoreError();
  }
}

void ModelManager::Impl::Retire(const std::string& name) {
  if (retention.keep == 0) return;
  {
    absl::MutexLock lock(&changes);
    uint64_t kept = 0;
    const ModelInfo model = catalog.Model(name);
    for (const VersionInfo& info : model.versions()) {
      const VersionKey key{name, info.version()};
      if (kept < retention.keep) {
        // What cannot be loaded is no substitute for what can.
        kept += info.state() == density::v1::LOAD_FAILED ? 0 : 1;
        continue;
      }
      if (!catalog.IsUnused(key, absl::Now() - retention.grace)) continue;
      const absl::Status status = store.Retire(name, key.version);
      // An alias that another process has set, or its deletion.
      if (absl::IsFailedPrecondition(status) || absl::IsNotFound(status)) continue;
      if (!status.ok()) {
        Log(LogLevel::kWarning, "old version not deleted",
            {{"model", name}, {"version", key.version}, {"error", status.ToString()}});
        break;
      }
      Log(LogLevel::kInfo, "old version deleted", {{"model", name}, {"version", key.version}});
      catalog.Unload(key).IgnoreError();
    }
  }
  Refresh(name).IgnoreError();  // forgets what is gone
  events.Deliver();
}

ModelManager::ModelManager(ModelStore& store, Loader loader, size_t max_model_bytes, ModelEvents events,
                           Retention retention)
    : impl_(std::make_unique<Impl>(store, std::move(loader), max_model_bytes, std::move(events), retention)) {}

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
    if (absl::Status status = impl_->Reload(model, retry_failed, changes); !status.ok()) return status;
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
  return impl_->store.Export(key->name, key->version);
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
