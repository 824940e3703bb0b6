// Frees versions away from the threads that answer requests.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "server/registry/servable.h"

namespace densityd::registry {

/// A thread that destroys what nobody uses any more and gives the memory back to the system: freeing gigabytes must not
/// delay the call that happened to hold the last handle. Thread-safe.
class ReleaseQueue {
 public:
  ReleaseQueue();
  /// Finishes what is queued. What is released later is destroyed where its last handle goes.
  ~ReleaseQueue();

  /// `servable`, to be handed out: when its last copy goes, it is destroyed on the queue's thread, and then `released`
  /// is called there, unless the queue is gone.
  std::shared_ptr<const Servable> Track(std::shared_ptr<const Servable> servable, std::function<void()> released);

 private:
  struct State;
  static void Run(State& state);

  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace densityd::registry
