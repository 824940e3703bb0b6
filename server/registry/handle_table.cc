#include "server/registry/handle_table.h"

#include <atomic>
#include <utility>

#include "server/base/strings.h"

namespace densityd::registry {
namespace {

/// A small number of this thread: threads take slots in turn.
size_t ThreadNumber() {
  static std::atomic<size_t> next{0};
  thread_local const size_t number = next.fetch_add(1, std::memory_order_relaxed);
  return number;
}

}  // namespace

HandleTable::HandleTable() { Replace({}); }

std::optional<ModelHandle> HandleTable::Find(std::string_view reference) const {
  const Slot& slot = slots_[ThreadNumber() % kSlots];
  absl::ReaderMutexLock lock(&slot.mutex);
  const auto found = slot.handles->find(ToAbsl(reference));
  if (found == slot.handles->end()) return std::nullopt;
  if (found->second.last_use != nullptr) found->second.last_use->Note();
  return found->second.handle;
}

void HandleTable::Replace(Handles handles) {
  const auto replacement = std::make_shared<const Handles>(std::move(handles));
  for (Slot& slot : slots_) {
    // The old table goes after the lock, so that no reader waits for what its destruction releases.
    std::shared_ptr<const Handles> old = replacement;
    absl::MutexLock lock(&slot.mutex);
    slot.handles.swap(old);
  }
}

}  // namespace densityd::registry
