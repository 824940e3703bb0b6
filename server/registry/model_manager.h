// Model versions in memory: loading, handles, unloading.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "density/v1/model_registry.pb.h"
#include "server/registry/model_memory.h"
#include "server/registry/model_store.h"
#include "server/registry/servable.h"

namespace densityd::registry {

/// Told whenever a version becomes ready or stops being so (for health and metrics), and when an alias moves. Called
/// without locks held, in order per version.
struct ModelEvents {
  std::function<void(const density::v1::VersionInfo&)> on_change;
};

/// Which versions of a model stay when new ones are published. Whatever this says, those stay that an alias names, that
/// were loaded by hand (Load), and that are in use: held by calls in flight, or asked for by their number lately.
struct Retention {
  uint64_t keep = 0;                         ///< the newest ones that can be loaded; 0: all stay
  absl::Duration grace = absl::Minutes(10);  ///< how long ago lately is
};

/// Thread-safe. Valid transitions of a version (density.v1.VersionState):
///   NOT_LOADED -> LOADING -> READY -> UNLOADING -> NOT_LOADED
///   UNLOADING -> READY, where it is loaded again before its last handle goes
///   LOADING -> LOAD_FAILED(status) -> LOADING
/// One version is loaded at a time; nothing else waits for that, and loading gives way to the threads that answer
/// requests (RunInBackground).
class ModelManager {
 public:
  /// `store` must outlive the manager; handles may outlive both. `retention` is for the manager whose server owns the
  /// root, and nobody else.
  ModelManager(ModelStore& store, Loader loader, ModelMemory memory, ModelEvents events, Retention retention = {});
  ~ModelManager();

  /// Finds all stored versions and loads those that an alias names. What fails is kept as failed, with its reason; the
  /// others are served. Where the newest version of a model fails, and `latest` was not set, `latest` leads to the
  /// newest one that can be loaded. Ends before the next version where `stop` says so.
  void LoadAll(absl::FunctionRef<bool()> stop = [] { return false; });

  /// The version that `reference` (`name`, `name@3`, `name@alias`) names now. Takes no lock that loading holds.
  /// INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION (not loaded, still loading: with what to do), DATA_LOSS (failed).
  absl::StatusOr<ModelHandle> Acquire(std::string_view reference) const;

  /// Loads and returns when ready. Versions that nobody loaded by this call and no alias names make room where it is
  /// short. NOT_FOUND, DATA_LOSS, RESOURCE_EXHAUSTED where it does not fit, and the loader's errors.
  absl::StatusOr<density::v1::VersionInfo> Load(std::string_view reference);
  /// Returns when nobody can acquire it any more, and, unless a handle is out, when its memory is free. NOT_FOUND;
  /// FAILED_PRECONDITION while it is loading.
  absl::StatusOr<density::v1::VersionInfo> Unload(std::string_view reference);
  /// FAILED_PRECONDITION while loaded, or while an alias other than `latest` names it.
  absl::Status Delete(std::string_view name, uint64_t version);

  /// A version was published (by a training process): loads it, then follows the model's aliases as they are on disk.
  /// Where it cannot be loaded, the aliases lead to what they led to until it is, or the server starts again. Then
  /// deletes what Retention lets go, as LoadAll and ReloadFromDisk do; what cannot be deleted is logged.
  absl::Status OnPublished(std::string_view name, uint64_t version);

  /// Takes up what other processes published, deleted or renamed in the store, for one model or, where `name` is empty,
  /// all. New versions are found, what aliases name now is loaded before they are followed, and what is deleted is
  /// unloaded. A version that cannot be loaded is in its state and in the log, and its aliases stay where they were.
  /// Of a model that is seen for the first time `latest` leads where LoadAll would lead it.
  /// INVALID_ARGUMENT; NOT_FOUND where `name` is neither stored nor known; the disk's errors, which for all models are
  /// among the answer's `failed`, one for each model.
  /// What failed before, or was unloaded by hand while an alias named it, is loaded only with `retry_failed`.
  absl::StatusOr<density::v1::ReloadFromDiskResponse> ReloadFromDisk(std::string_view name, bool retry_failed);

  /// A version as an archive, which Retention leaves alone meanwhile. NOT_FOUND; DATA_LOSS.
  absl::StatusOr<VersionExport> Export(std::string_view reference) const;
  /// Begins to take an archive of at most `max_bytes`.
  absl::StatusOr<std::unique_ptr<VersionImport>> BeginImport(uint64_t max_bytes);
  /// Publishes a finished import under `name` and loads it, as OnPublished does. What cannot be loaded is refused
  /// before anything is published: INVALID_ARGUMENT for "archive"; RESOURCE_EXHAUSTED where it does not fit into
  /// memory.
  absl::StatusOr<density::v1::VersionInfo> Import(const VersionImport& import, std::string_view name);

  /// Loads the version first: an alias never moves to one that does not answer. Errors of Load and
  /// ModelStore::SetAlias.
  absl::StatusOr<density::v1::Aliases> SetAlias(const density::v1::SetAliasRequest& request);
  absl::StatusOr<density::v1::Aliases> DeleteAlias(const density::v1::DeleteAliasRequest& request);

  /// All models by name, versions newest first.
  absl::StatusOr<std::vector<density::v1::ModelInfo>> List() const;
  /// NOT_FOUND, DATA_LOSS.
  absl::StatusOr<density::v1::ModelDetail> Get(std::string_view reference) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace densityd::registry
