#include "server/registry/event_queue.h"

#include <utility>

namespace densityd::registry {

void EventQueue::Push(density::v1::VersionInfo event) {
  if (listener_ == nullptr) return;
  absl::MutexLock lock(&mutex_);
  events_.push_back(std::move(event));
  ++pushed_;
}

void EventQueue::Deliver() {
  absl::MutexLock lock(&mutex_);
  if (delivering_ && deliverer_ == std::this_thread::get_id()) return;
  const uint64_t mine = pushed_;
  const auto can_go_on = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !delivering_ || delivered_ >= mine; };
  mutex_.Await(absl::Condition(&can_go_on));
  if (delivered_ >= mine) return;
  delivering_ = true;
  deliverer_ = std::this_thread::get_id();
  while (!events_.empty()) {
    const density::v1::VersionInfo event = std::move(events_.front());
    events_.pop_front();
    mutex_.Unlock();
    listener_(event);
    mutex_.Lock();
    ++delivered_;
  }
  delivering_ = false;
}

}  // namespace densityd::registry
