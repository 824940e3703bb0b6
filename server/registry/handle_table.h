// The versions that answer, found by reference without waiting for anybody.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/registry/servable.h"

namespace densityd::registry {

/// Read by every request, replaced as a whole whenever a version or an alias changes (read-copy-update). Readers of
/// different threads use different locks, each held for one look-up or one swap of a pointer. Thread-safe.
class HandleTable {
 public:
  /// Every way to write a reference to a ready version ("power", "power@3", "power@stable") -> its handle.
  using Handles = absl::flat_hash_map<std::string, ModelHandle>;

  HandleTable();

  /// None where no ready version is called so.
  std::optional<ModelHandle> Find(std::string_view reference) const;

  /// From its return on nobody finds what is not in `handles`, and the table holds nothing else in memory.
  void Replace(Handles handles);

 private:
  struct alignas(64) Slot {
    mutable absl::Mutex mutex;
    std::shared_ptr<const Handles> handles ABSL_GUARDED_BY(mutex);
  };
  static constexpr size_t kSlots = 16;

  std::array<Slot, kSlots> slots_;
};

}  // namespace densityd::registry
