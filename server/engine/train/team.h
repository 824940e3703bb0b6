// Threads that share out the parts of one piece of work.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace densityd::engine::train {

/// A fixed number of threads, the caller's among them. Used by one thread.
class Team {
 public:
  explicit Team(size_t members);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  size_t members() const { return threads_.size() + 1; }

  using Task = absl::FunctionRef<void(size_t item, size_t member)>;
  /// Calls task(i, m) once for each i < count, in any order, each on the thread of some member m < members(). Returns
  /// when all have returned; a thread that has not even woken by then is not waited for. Member m begins with the m-th
  /// part of the items, so that what they work on stays in its core's caches from round to round, and then helps
  /// others.
  void Run(size_t count, Task task);

 private:
  // Of a member; each in a cache line of its own.
  struct alignas(64) Share {
    std::atomic<size_t> next = 0;  // item
    size_t end = 0;
  };

  void Serve(size_t member);
  void Work(size_t member);

  std::vector<std::thread> threads_;
  std::vector<Share> shares_;
  const Task* task_ = nullptr;
  std::atomic<bool> is_open_ = false;  // whether there may be items left
  std::atomic<uint32_t> busy_ = 0;     // threads that have come to see, or work
  std::atomic<uint32_t> round_ = 0;    // what the threads wait for
  std::atomic<bool> is_ending_ = false;
};

}  // namespace densityd::engine::train
