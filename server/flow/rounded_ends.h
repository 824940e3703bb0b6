// Ends of closed intervals, met in float32: pi is larger there than it is. What is within, for all who ask: single
// numbers here, tensors in rounded_ends_tensor.h.
#pragma once

#include <algorithm>

namespace densityd::flow {

/// Whether x lies within [low, high], or is in float32 the same number as an end. False for NaN.
inline bool IsWithin(double x, double low, double high) {
  const auto rounded = static_cast<float>(x);
  return rounded >= static_cast<float>(low) && rounded <= static_cast<float>(high);
}

/// x; where rounding to float32 has put it beyond an end, that end.
inline double WithinEnds(double x, double low, double high) {
  return IsWithin(x, low, high) ? std::clamp(x, low, high) : x;
}

}  // namespace densityd::flow
