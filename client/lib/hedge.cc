#include "client/lib/hedge.h"

#include <algorithm>

namespace densityd::client_internal {

void HedgeBudget::OnCall() {
  int64_t left = left_.load(std::memory_order_relaxed);
  while (!left_.compare_exchange_weak(left, std::min(left + per_call_, kMost), std::memory_order_relaxed)) {
  }
}

bool HedgeBudget::Take() {
  int64_t left = left_.load(std::memory_order_relaxed);
  do {
    if (left < kOne) return false;
  } while (!left_.compare_exchange_weak(left, left - kOne, std::memory_order_relaxed));
  return true;
}

}  // namespace densityd::client_internal
