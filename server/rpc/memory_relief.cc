#include "server/rpc/memory_relief.h"

#include "absl/time/time.h"

namespace densityd::rpc {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(5);

}  // namespace

MemoryRelief::MemoryRelief(const serving::Scheduler& scheduler)
    : scheduler_(scheduler), relief_(kTick, [this] { Look(); }) {}

void MemoryRelief::Look() {
  if (scheduler_.queued_bytes() > scheduler_.max_queued_bytes() / 2) {
    if (!giving_.has_value()) giving_.emplace();
    ReturnFreedMemory();
  } else {
    giving_.reset();
  }
}

}  // namespace densityd::rpc
