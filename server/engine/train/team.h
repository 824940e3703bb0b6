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
  /// when all have returned.
  void Run(size_t count, Task task);

 private:
  void Serve(size_t member);
  void Work(size_t member);

  std::vector<std::thread> threads_;
  const Task* task_ = nullptr;
  size_t count_ = 0;
  std::atomic<size_t> next_ = 0;
  std::atomic<uint32_t> round_ = 0;  // what the threads wait for
  std::atomic<uint32_t> finished_ = 0;
  std::atomic<bool> is_ending_ = false;
};

}  // namespace densityd::engine::train
