// Memory that is counted where it is taken, and refused where it would go beyond a ceiling.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <utility>

namespace densityd {

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

/// A ceiling, and what is reserved under it. Thread-safe and lock-free.
class MemoryBudget {
 public:
  /// With a `whole`, which outlives it, this is a part of that: what is reserved here counts there, too, and has to fit
  /// there. The ceilings of its parts may add up to more than the whole's.
  explicit MemoryBudget(size_t ceiling, MemoryBudget* whole = nullptr) : ceiling_(ceiling), whole_(whole) {}

  size_t ceiling() const { return ceiling_; }
  size_t used() const { return used_.load(std::memory_order_relaxed); }
  /// Null where there is none.
  const MemoryBudget* whole() const { return whole_; }

  /// Makes `reservation`, of this budget or empty, one of `bytes` bytes; where a ceiling does not allow it, false, and
  /// it stays as it was. What becomes smaller always fits.
  bool Reserve(size_t bytes, Reservation& reservation) {
    const size_t held = reservation.bytes_;
    if (bytes > held && !Take(bytes - held)) return false;
    if (bytes < held) GiveBack(held - bytes);
    reservation.budget_ = this;
    reservation.bytes_ = bytes;
    return true;
  }
  /// Whether `bytes` more would fit under this ceiling if `freed` bytes of what is reserved were not. The whole's is
  /// another question.
  bool WouldFit(size_t bytes, size_t freed = 0) const {
    const size_t used = this->used();
    return bytes <= ceiling_ && used - std::min(freed, used) <= ceiling_ - bytes;
  }

 private:
  friend class Reservation;

  bool Take(size_t bytes) {
    if (!AddWithin(used_, bytes, ceiling_)) return false;
    if (whole_ == nullptr || whole_->Take(bytes)) return true;
    used_.fetch_sub(bytes, std::memory_order_relaxed);
    return false;
  }
  void GiveBack(size_t bytes) {
    used_.fetch_sub(bytes, std::memory_order_relaxed);
    if (whole_ != nullptr) whole_->GiveBack(bytes);
  }

  const size_t ceiling_;
  MemoryBudget* const whole_;
  std::atomic<size_t> used_{0};
};

inline void Reservation::Release() {
  if (MemoryBudget* budget = std::exchange(budget_, nullptr)) {
    budget->GiveBack(std::exchange(bytes_, 0));
  }
}

}  // namespace densityd
