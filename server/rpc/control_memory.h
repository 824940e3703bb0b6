// What the messages of control calls hold while they wait and are worked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/memory_budget.h"

namespace densityd::rpc {

/// RESOURCE_EXHAUSTED with a time to come back: `budget`, or what it is a part of, has no room. `who` begins the
/// message: "the control calls that wait hold".
absl::Status NoMemory(const MemoryBudget& budget, std::string_view who);

/// A budget of which no client may hold more than there is room left, so that whoever comes next finds some: one alone
/// gets half of it, the next half of the rest. Thread-safe.
class ControlMemory {
 public:
  /// What one message holds, given back when destroyed. The memory outlives it.
  class Share {
   public:
    Share() = default;
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share();

   private:
    friend class ControlMemory;

    ControlMemory* memory_ = nullptr;
    uint64_t client_ = 0;
    Reservation reservation_;
  };

  /// A part of `whole`, which may be null.
  ControlMemory(size_t ceiling, MemoryBudget* whole) : budget_(ceiling, whole) {}

  /// Makes `share`, which is empty, one of `bytes` bytes. RESOURCE_EXHAUSTED with a time to come back.
  absl::Status Reserve(uint64_t client, size_t bytes, Share& share);

 private:
  void GiveBack(Share& share);

  MemoryBudget budget_;
  absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, size_t> held_by_ ABSL_GUARDED_BY(mutex_);  ///< clients that hold some
};

}  // namespace densityd::rpc
