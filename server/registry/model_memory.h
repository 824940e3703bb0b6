// How much memory loaded versions may take.
#pragma once

#include <cstddef>

#include "absl/time/time.h"
#include "server/base/memory_budget.h"

namespace densityd::registry {

/// A ceiling for loaded versions, and for the scratch memory of the one of them that needs most.
struct ModelMemory {
  // NOLINTNEXTLINE(google-explicit-constructor): most have nothing else to say.
  ModelMemory(size_t ceiling, MemoryBudget* whole = nullptr) : ceiling(ceiling), whole(whole) {}

  size_t ceiling;                               ///< bytes
  MemoryBudget* whole;                          ///< of which this is a part; outlives the manager; may be null
  absl::Duration patience = absl::Seconds(10);  ///< how long a load waits for calls in flight to let go of memory
};

}  // namespace densityd::registry
