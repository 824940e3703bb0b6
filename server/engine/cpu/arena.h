// One block of memory for all weights of a plan.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace densityd::engine::cpu {

/// Numbers per 64-byte cache line.
inline constexpr size_t kLine = 16;

/// Read-only numbers that start on a cache line, in huge pages where the system gives them.
class Arena {
 public:
  Arena() = default;
  /// `count` zeros. data() is null where memory is short.
  explicit Arena(size_t count);

  float* data() { return memory_.get(); }
  const float* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  size_t bytes_ = 0;
};

}  // namespace densityd::engine::cpu
