// Gives memory of requests back while much of it is in use.
//
// What a request held is kept by the allocator for the next one, which need not fit into it: messages come in pieces,
// and become blocks. Near the ceiling, where what is kept would come on top of what is in use, it goes back to the
// system instead, as it is freed or some milliseconds later.
#pragma once

#include <optional>

#include "server/base/freed_memory.h"
#include "server/base/periodic.h"
#include "server/serving/scheduler.h"

namespace densityd::rpc {

/// Thread-safe.
class MemoryRelief {
 public:
  /// `scheduler` outlives it.
  explicit MemoryRelief(const serving::Scheduler& scheduler);

 private:
  void Look();

  const serving::Scheduler& scheduler_;
  std::optional<GivingMemoryBack> giving_;
  Periodic relief_;
};

}  // namespace densityd::rpc
