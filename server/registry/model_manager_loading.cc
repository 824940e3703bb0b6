#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "server/base/background.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/registry/model_manager_impl.h"

namespace densityd::registry {
namespace {

using density::v1::Aliases;
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

absl::StatusOr<std::shared_ptr<const Servable>> ModelManager::Impl::MakeServable(const VersionKey& key,
                                                                                 Reservation& room) {
  // The weights as stored are a lower bound of what the version will need: refuse before reading them.
  const absl::StatusOr<uint64_t> stored_bytes = store.StoredBytes(key.name, key.version);
  if (!stored_bytes.ok()) return stored_bytes.status();
  if (absl::Status status = catalog.MakeRoom(key, *stored_bytes, room); !status.ok()) return status;
  const absl::StatusOr<StoredVersion> stored = store.Read(key.name, key.version);
  if (!stored.ok()) return stored.status();
  absl::StatusOr<std::shared_ptr<const Servable>> servable = loader(*stored);
  if (!servable.ok()) return servable;
  if (absl::Status status = catalog.MakeRoomFor(key, **servable, room); !status.ok()) return status;
  return servable;
}

absl::Status ModelManager::Impl::TryToLoad(const VersionImport& import, const std::string& name) {
  absl::MutexLock lock(&changes);
  const VersionKey key{name, 0};
  Reservation room;
  if (absl::Status status = catalog.MakeRoom(key, import.bytes(), room); !status.ok()) return status;
  absl::Status result;
  RunInBackground([&] {
    const absl::StatusOr<StoredVersion> stored = store.ReadImport(import, name);
    if (!stored.ok()) {
      result = stored.status();
      return;
    }
    const absl::StatusOr<std::shared_ptr<const Servable>> servable = loader(*stored);
    result = servable.ok()
                 ? catalog.MakeRoomFor(key, **servable, room)
                 : InvalidArgument("archive", absl::StrCat("holds a model that cannot be loaded: ",
                                                           store.hidden_root().In(servable.status()).message()));
  });
  return result;
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
    // Later it would undo what was unloaded by hand.
    if (before.versions().empty()) FallBack(name, /*stop=*/[] { return false; });
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
      Reservation room;
      absl::StatusOr<std::shared_ptr<const Servable>> servable;
      RunInBackground([&] { servable = MakeServable(key, room); });
      const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
      result = servable.status();
      if (servable.ok()) {
        catalog.FinishLoad(key, *std::move(servable), std::move(room));
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

void ModelManager::Impl::FallBack(const std::string& name, absl::FunctionRef<bool()> stop) {
  const absl::StatusOr<bool> is_set = store.IsLatestSet(name);
  if (!is_set.ok() || *is_set) return;
  const ModelInfo model = catalog.Model(name);  // newest first
  if (model.versions().empty() || model.versions(0).state() != density::v1::LOAD_FAILED) return;
  const uint64_t newest = model.versions(0).version();
  for (const VersionInfo& info : model.versions()) {
    if (info.state() == density::v1::LOAD_FAILED) continue;
    if (stop()) return;
    if (!LoadVersion({name, info.version()}, /*pinned=*/false).ok()) continue;
    {
      absl::MutexLock lock(&following);
      absl::StatusOr<Aliases> aliases = store.ReadAliases(name);
      // Something came meanwhile; whoever brought it follows it.
      if (!aliases.ok() || aliases->versions().at(kLatest) != newest) return;
      (*aliases->mutable_versions())[kLatest] = info.version();
      catalog.SetAliases(name, std::move(aliases));
    }
    events.Deliver();
    Log(LogLevel::kWarning, "latest leads to an older version: the newest cannot be loaded",
        {{"model", name}, {"version", info.version()}, {"newest", newest}});
    return;
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

}  // namespace densityd::registry
