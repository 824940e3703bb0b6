// What a ModelManager is made of. model_manager.cc has its calls, model_manager_loading.cc what they share: how what is
// on disk and what is in memory come together.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/base/memory_budget.h"
#include "server/registry/catalog.h"
#include "server/registry/event_queue.h"
#include "server/registry/model_manager.h"

namespace densityd::registry {

struct ModelManager::Impl {
  Impl(ModelStore& store, Loader loader, ModelMemory memory, ModelEvents events, Retention retention)
      : store(store),
        loader(std::move(loader)),
        retention(retention),
        events(std::move(events.on_change)),
        catalog(memory, this->events) {}

  /// Takes up what other processes published or deleted.
  absl::Status Refresh(const std::string& name);
  absl::Status LoadVersion(const VersionKey& key, bool pinned);
  /// `room` becomes a reservation of what the servable takes.
  absl::StatusOr<std::shared_ptr<const Servable>> MakeServable(const VersionKey& key, Reservation& room);
  /// Whether a version could be loaded; it is not kept. INVALID_ARGUMENT; RESOURCE_EXHAUSTED.
  absl::Status TryToLoad(const VersionImport& import, const std::string& name);
  /// ReloadFromDisk for one model.
  absl::Status Reload(const std::string& name, bool retry_failed, density::v1::ReloadFromDiskResponse& changes);
  /// Loads what the aliases of a model name; failures are kept in the versions' states. Without `retry_failed`, what
  /// failed before, or was unloaded by hand, is left alone.
  void LoadAliased(const std::string& name, const absl::StatusOr<density::v1::Aliases>& aliases,
                   bool retry_failed = true);
  /// Follows the aliases of a model as they are on disk now; where one names a version that does not answer, it goes on
  /// to name the one that it named, while that answers.
  void FollowAliases(const std::string& name);
  /// Where `latest` was not set and the newest version has failed to load: loads older ones, newest first, until one
  /// answers, and leads `latest` there, as FollowAliases would have kept it there had it been loaded before.
  void FallBack(const std::string& name, absl::FunctionRef<bool()> stop);
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

}  // namespace densityd::registry
