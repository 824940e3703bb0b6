// What the server knows about every version: its facts, its state, and the names that lead to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/memory_budget.h"
#include "server/registry/event_queue.h"
#include "server/registry/handle_table.h"
#include "server/registry/model_memory.h"
#include "server/registry/names.h"
#include "server/registry/release_queue.h"

namespace densityd::registry {

/// A version by name and number.
struct VersionKey {
  std::string name;
  uint64_t version = 0;

  /// "power@3".
  std::string Reference() const;
};

/// The book of all versions and the memory that they use. Knows no disk and loads nothing: every call is short.
/// Changes are told to the event queue; the caller delivers them. Thread-safe.
///
/// States: kNotLoaded -> kLoading -> kReady -> kUnloading -> kNotLoaded; kUnloading -> kReady where it is loaded again
/// before its last handle goes; any -> kFailed -> kLoading.
class Catalog {
 public:
  Catalog(const ModelMemory& memory, EventQueue& events)
      : patience_(memory.patience), memory_(memory.ceiling, memory.whole), events_(events) {}

  /// The ready version that `reference` names, or why there is none.
  absl::StatusOr<ModelHandle> Acquire(std::string_view reference) const;

  /// Adds a version that is on disk, with what is known about it without loading: name, version, sizes, features. An
  /// error makes it failed. Nothing happens where it is known already.
  void Add(const VersionKey& key, const density::v1::VersionInfo& facts, const absl::Status& error);
  bool Knows(const VersionKey& key) const;
  /// Forgets versions of a model that are neither in `present` nor in memory.
  void Forget(const std::string& name, const std::vector<uint64_t>& present);
  /// Replaces the aliases of a model by what is on disk, or by why it cannot be read.
  void SetAliases(const std::string& name, absl::StatusOr<density::v1::Aliases> aliases);

  /// The version that a reference names; NOT_FOUND, DATA_LOSS (aliases). With `aliases` in place of those known.
  absl::StatusOr<VersionKey> Resolve(const ModelReference& reference) const;
  static absl::StatusOr<uint64_t> ResolveAlias(const ModelReference& reference,
                                               const absl::StatusOr<density::v1::Aliases>& aliases);

  /// Begins a load: false where the version is ready, or could be made ready again, and there is nothing to do.
  /// `pinned` versions never make room for others. One load runs at a time. NOT_FOUND.
  absl::StatusOr<bool> BeginLoad(const VersionKey& key, bool pinned);
  /// Makes `room` a reservation of `bytes`. Where that does not fit, unloads versions that nobody loaded by hand and
  /// that no alias names, oldest first, and waits for calls in flight to let go of memory. RESOURCE_EXHAUSTED where all
  /// those versions would not be enough (then none is unloaded), or where calls take too long.
  absl::Status MakeRoom(const VersionKey& key, size_t bytes, Reservation& room);
  /// The same for what a servable takes; its scratch memory stays reserved from then on.
  absl::Status MakeRoomFor(const VersionKey& key, const Servable& servable, Reservation& room);
  /// Ends a load. Precondition: `room` is what MakeRoomFor made for it.
  void FinishLoad(const VersionKey& key, std::shared_ptr<const Servable> servable, Reservation room);
  /// Ends a load that failed.
  void FailLoad(const VersionKey& key, const absl::Status& error);

  /// Takes a version out of memory. Waits until it is gone, unless calls in flight hold it. OK where it is not loaded;
  /// FAILED_PRECONDITION while it is loading; NOT_FOUND.
  absl::Status Unload(const VersionKey& key);
  /// Makes IsUnused say no for as long as what is returned lives: somebody reads the version's files. NOT_FOUND.
  absl::StatusOr<std::shared_ptr<const void>> HoldFiles(const VersionKey& key) const;
  /// Whether nobody here would miss a version: no alias names it, nobody loaded it by hand, no call in flight holds it
  /// or its files, and since `since` none asked for it by its number.
  bool IsUnused(const VersionKey& key, absl::Time since) const;

  /// FAILED_PRECONDITION while in memory; NOT_FOUND.
  absl::Status CheckNotLoaded(const VersionKey& key);

  /// NOT_FOUND.
  absl::StatusOr<density::v1::VersionInfo> Info(const VersionKey& key) const;
  /// One model as List gives it; without versions where it is not known.
  density::v1::ModelInfo Model(const std::string& name) const;
  /// All models by name, versions newest first. A model whose aliases cannot be read has none.
  std::vector<density::v1::ModelInfo> List() const;

 private:
  struct Record {
    density::v1::VersionInfo info;             ///< as it is told
    absl::Status error;                        ///< set if and only if LOAD_FAILED
    std::shared_ptr<const Servable> servable;  ///< set if and only if READY
    std::weak_ptr<const Servable> last;        ///< the servable, while handles may hold it
    uint64_t generation = 0;                   ///< of the servable: how many were loaded
    Reservation memory;                        ///< of the servable, until it is destroyed
    bool pinned = false;
    std::shared_ptr<const void> files = std::make_shared<char>();      ///< copies: HoldFiles
    std::shared_ptr<LastUse> by_number = std::make_shared<LastUse>();  ///< when it was asked for so
  };
  struct ModelRecord {
    std::map<uint64_t, Record> versions;
    absl::StatusOr<density::v1::Aliases> aliases = density::v1::Aliases();
  };

  template <typename Models>
  static auto* FindIn(Models& models, const VersionKey& key);
  /// Whether an alias names the version, or could: where they cannot be read.
  static bool MayBeNamed(const ModelRecord& model, uint64_t version);
  static density::v1::ModelInfo InfoOf(const std::string& name, const ModelRecord& model);
  const Record* Find(const VersionKey& key) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Record* Find(const VersionKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<VersionKey> ResolveLocked(const ModelReference& reference) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void SetState(Record& record, density::v1::VersionState state, absl::Status error = absl::OkStatus())
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginUnload(Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AwaitRelease(const VersionKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  size_t UnloadingBytes() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status Reserve(const VersionKey& key, size_t bytes, Reservation& room) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TooManyModels(const VersionKey& key, size_t bytes) const;
  absl::Status HeldByCalls(const VersionKey& key, size_t bytes) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  /// What may be unloaded to make room, oldest first.
  std::vector<Record*> FindSpares() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Released(const VersionKey& key, uint64_t generation);
  void RebuildHandles() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const absl::Duration patience_;
  MemoryBudget memory_;
  EventQueue& events_;
  HandleTable handles_;
  mutable absl::Mutex mutex_;
  std::map<std::string, ModelRecord, std::less<>> models_ ABSL_GUARDED_BY(mutex_);
  Reservation scratch_ ABSL_GUARDED_BY(mutex_);
  /// Last: its thread calls Released until it is joined.
  ReleaseQueue releases_;
};

}  // namespace densityd::registry
