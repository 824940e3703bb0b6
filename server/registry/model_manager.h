// Model versions in memory: loading, handles, unloading.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/registry/model_store.h"
#include "server/registry/servable.h"

namespace densityd::registry {

/// Told whenever a version becomes ready or stops being so (for health and metrics), and when an alias moves. Called
/// without locks held, in order per version.
struct ModelEvents {
  std::function<void(const density::v1::VersionInfo&)> on_change;
};

/// Thread-safe. Valid transitions of a version:
///   kNotLoaded -> kLoading -> kReady -> kUnloading -> kNotLoaded, any -> kFailed(status) -> kLoading
class ModelManager {
 public:
  /// `max_model_bytes` bounds the memory of all loaded versions.
  ModelManager(ModelStore& store, Loader loader, size_t max_model_bytes, ModelEvents events);
  ~ModelManager();

  /// Loads every version that an alias names. A version that fails is kept as failed; the others are served.
  void LoadAll();

  /// The version that `reference` (`name`, `name@3`, `name@alias`) names now. Takes no lock that loading holds.
  /// INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION (not loaded, still loading: with what to do), DATA_LOSS (failed).
  absl::StatusOr<ModelHandle> Acquire(std::string_view reference) const;

  /// Loads and returns when ready. RESOURCE_EXHAUSTED where it does not fit.
  absl::StatusOr<density::v1::VersionInfo> Load(std::string_view reference);
  absl::StatusOr<density::v1::VersionInfo> Unload(std::string_view reference);
  /// FAILED_PRECONDITION while loaded, or while an alias other than `latest` names it.
  absl::Status Delete(std::string_view name, uint64_t version);

  /// A version was published (by a training process): loads it, and refreshes the model's aliases.
  absl::Status OnPublished(std::string_view name, uint64_t version);

  absl::StatusOr<density::v1::Aliases> SetAlias(const density::v1::SetAliasRequest& request);
  absl::StatusOr<density::v1::Aliases> DeleteAlias(const density::v1::DeleteAliasRequest& request);

  absl::StatusOr<std::vector<density::v1::ModelInfo>> List() const;
  absl::StatusOr<density::v1::ModelDetail> Get(std::string_view reference) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace densityd::registry
