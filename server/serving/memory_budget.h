// The bytes that row requests may hold, from their arrival until their answers are sent.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

namespace densityd::serving {

class MemoryBudget;

/// Bytes of a budget, given back when destroyed. The budget outlives it.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    if (this != &other) {
      Release();
      budget_ = std::exchange(other.budget_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~Reservation() { Release(); }

  inline void Release();
  size_t bytes() const { return bytes_; }

 private:
  friend class MemoryBudget;

  MemoryBudget* budget_ = nullptr;
  size_t bytes_ = 0;
};

/// Adds `amount` to `sum` unless it would exceed `limit`.
inline bool AddWithin(std::atomic<size_t>& sum, size_t amount, size_t limit) {
  size_t current = sum.load(std::memory_order_relaxed);
  do {
    if (amount > limit || current > limit - amount) return false;
  } while (!sum.compare_exchange_weak(current, current + amount, std::memory_order_relaxed));
  return true;
}

/// Thread-safe and lock-free.
class MemoryBudget {
 public:
  explicit MemoryBudget(size_t ceiling) : ceiling_(ceiling) {}

  size_t ceiling() const { return ceiling_; }
  size_t used() const { return used_.load(std::memory_order_relaxed); }

  /// Makes `reservation`, of this budget or empty, one of `bytes` bytes; where the ceiling does not allow it, false,
  /// and it stays as it was. What becomes smaller always fits.
  bool Reserve(size_t bytes, Reservation& reservation) {
    const size_t held = reservation.bytes_;
    if (bytes > held && !AddWithin(used_, bytes - held, ceiling_)) return false;
    if (bytes < held) used_.fetch_sub(held - bytes, std::memory_order_relaxed);
    reservation.budget_ = this;
    reservation.bytes_ = bytes;
    return true;
  }

 private:
  friend class Reservation;

  const size_t ceiling_;
  std::atomic<size_t> used_{0};
};

inline void Reservation::Release() {
  if (MemoryBudget* budget = std::exchange(budget_, nullptr)) {
    budget->used_.fetch_sub(std::exchange(bytes_, 0), std::memory_order_relaxed);
  }
}

}  // namespace densityd::serving
