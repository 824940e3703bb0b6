#include "server/rpc/memory_relief.h"

#include <optional>

#include "absl/time/time.h"
#include "server/base/freed_memory.h"

namespace densityd::rpc {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(5);

}  // namespace

MemoryRelief::MemoryRelief(const serving::Scheduler& scheduler) : scheduler_(scheduler), thread_([this] { Run(); }) {}

MemoryRelief::~MemoryRelief() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void MemoryRelief::Run() {
  std::optional<GivingMemoryBack> giving;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kTick)) return;
    }
    if (scheduler_.queued_bytes() > scheduler_.max_queued_bytes() / 2) {
      if (!giving.has_value()) giving.emplace();
      ReturnFreedMemory();
    } else {
      giving.reset();
    }
  }
}

}  // namespace densityd::rpc
