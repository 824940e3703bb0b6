// The versions that answer, found by reference without waiting for anybody.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/registry/servable.h"

namespace densityd::registry {

/// When something was last asked for, to the second. Thread-safe.
class LastUse {
 public:
  void Note() {
    const int64_t now = absl::ToUnixSeconds(absl::Now());
    // Written once a second, however often it is asked for.
    if (seconds_.load(std::memory_order_relaxed) != now) seconds_.store(now, std::memory_order_relaxed);
  }
  /// InfinitePast: never.
  absl::Time time() const {
    const int64_t seconds = seconds_.load(std::memory_order_relaxed);
    return seconds == 0 ? absl::InfinitePast() : absl::FromUnixSeconds(seconds);
  }

 private:
  std::atomic<int64_t> seconds_{0};
};

/// Read by every request, replaced as a whole whenever a version or an alias changes (read-copy-update). Readers of
/// different threads use different locks, each held for one look-up or one swap of a pointer. Thread-safe.
class HandleTable {
 public:
  struct Entry {
    ModelHandle handle;
    std::shared_ptr<LastUse> last_use;  ///< of this way to write it; null: of no interest
  };
  /// Every way to write a reference to a ready version ("power", "power@3", "power@stable") -> its handle.
  using Handles = absl::flat_hash_map<std::string, Entry>;

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
