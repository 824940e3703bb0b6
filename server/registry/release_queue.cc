#include "server/registry/release_queue.h"

#include <malloc.h>

#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/base/background.h"
#include "server/base/freed_memory.h"

namespace densityd::registry {

struct ReleaseQueue::State {
  struct Item {
    std::shared_ptr<const Servable> servable;
    std::function<void()> released;
  };

  absl::Mutex mutex;
  std::vector<Item> items ABSL_GUARDED_BY(mutex);
  bool closed ABSL_GUARDED_BY(mutex) = false;

  /// False where the queue is closed.
  bool Add(Item& item) {
    absl::MutexLock lock(&mutex);
    if (closed) return false;
    items.push_back(std::move(item));
    return true;
  }

  /// Waits for items; empty when the queue is closed and done.
  std::vector<Item> Take() {
    absl::MutexLock lock(&mutex);
    const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return closed || !items.empty(); };
    mutex.Await(absl::Condition(&ready));
    return std::exchange(items, {});
  }
};

ReleaseQueue::ReleaseQueue() : state_(std::make_shared<State>()), thread_([state = state_] { Run(*state); }) {}

ReleaseQueue::~ReleaseQueue() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->closed = true;
  }
  thread_.join();
}

std::shared_ptr<const Servable> ReleaseQueue::Track(std::shared_ptr<const Servable> servable,
                                                    std::function<void()> released) {
  const Servable* const address = servable.get();
  auto deleter = [state = state_,
                  item = State::Item{std::move(servable), std::move(released)}](const Servable*) mutable {
    if (!state->Add(item)) item.servable.reset();
  };
  return std::shared_ptr<const Servable>(address, std::move(deleter));
}

void ReleaseQueue::Run(State& state) {
  GiveWayToOthers();
  for (std::vector<State::Item> items = state.Take(); !items.empty(); items = state.Take()) {
    {
      const GivingMemoryBack back;
      for (State::Item& item : items) item.servable.reset();
      malloc_trim(0);
    }
    for (State::Item& item : items) item.released();
  }
}

}  // namespace densityd::registry
