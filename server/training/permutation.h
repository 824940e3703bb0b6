// Random orders of rows that depend on a seed alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace densityd::training {

/// What an order is for. Orders of different streams are independent.
inline constexpr uint64_t kSplitStream = 0;       ///< which rows are held out
inline constexpr uint64_t kFirstEpochStream = 1;  ///< order of the rows in epoch e: stream kFirstEpochStream + e

/// A random order of 0 … count - 1: a pure function of its arguments, so a training can go on at any step.
std::vector<int64_t> SeededPermutation(uint64_t seed, uint64_t stream, size_t count);

}  // namespace densityd::training
