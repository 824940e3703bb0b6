#include "server/rpc/control_memory.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::rpc {

absl::Status NoMemory(const MemoryBudget& budget, std::string_view who) {
  constexpr absl::Duration kComeBack = absl::Seconds(1);
  std::string message = absl::StrCat(ToAbsl(who), " ", budget.used(), " of ", budget.ceiling(), " bytes");
  if (const MemoryBudget* whole = budget.whole()) {
    absl::StrAppend(&message, ", and all uses together ", whole->used(), " of ", whole->ceiling(), " (--max-memory)");
  }
  return ResourceExhausted("control memory", message, kComeBack);
}

ControlMemory::Share::~Share() {
  if (memory_ != nullptr) memory_->GiveBack(*this);
}

absl::Status ControlMemory::Reserve(uint64_t client, size_t bytes, Share& share) {
  // An empty message holds nothing that would have to be given back.
  if (bytes == 0) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  const auto found = held_by_.find(client);
  const size_t held = (found == held_by_.end() ? 0 : found->second) + bytes;
  // As much again has to be left.
  if (!budget_.WouldFit(bytes + held)) return NoMemory(budget_, "the control calls that wait hold");
  if (!budget_.Reserve(bytes, share.reservation_)) return NoMemory(budget_, "the control calls that wait hold");
  held_by_[client] = held;
  share.memory_ = this;
  share.client_ = client;
  return absl::OkStatus();
}

void ControlMemory::GiveBack(Share& share) {
  absl::MutexLock lock(&mutex_);
  const auto held = held_by_.find(share.client_);
  held->second -= share.reservation_.bytes();
  if (held->second == 0) held_by_.erase(held);
  share.reservation_.Release();
}

}  // namespace densityd::rpc
