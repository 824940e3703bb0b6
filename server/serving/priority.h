// Who goes first.
#pragma once

#include <array>
#include <cstddef>

namespace densityd::serving {

enum class Priority {
  kInteractive,  ///< somebody waits for the answer
  kBatch,        ///< nobody does: it is computed when nothing else is to be, see Scheduler
};
inline constexpr size_t kPriorities = 2;
inline constexpr std::array<Priority, kPriorities> kAllPriorities = {Priority::kInteractive, Priority::kBatch};

/// One T for each priority.
template <typename T>
class PerPriority {
 public:
  /// Each of them made of the same arguments.
  template <typename... Arguments>
  explicit PerPriority(Arguments&... arguments) : values_{T(arguments...), T(arguments...)} {}

  T& operator[](Priority priority) { return values_[static_cast<size_t>(priority)]; }
  const T& operator[](Priority priority) const { return values_[static_cast<size_t>(priority)]; }

 private:
  T values_[kPriorities];
};

}  // namespace densityd::serving
