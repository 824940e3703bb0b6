// Random orders of rows that depend on a seed alone, and take no memory.
#pragma once

#include <array>
#include <cstdint>

namespace densityd::training {

/// What an order is for. Orders of different streams are independent.
inline constexpr uint64_t kSplitStream = 0;       ///< which rows are held out
inline constexpr uint64_t kStartStream = 1;       ///< rows that a flow is initialised from
inline constexpr uint64_t kFirstEpochStream = 2;  ///< order of the rows in epoch e: stream kFirstEpochStream + e

/// A random order of 0 … count - 1, of which any place is computed by itself: a Feistel network over pairs of numbers
/// (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, its generalised form with cycle walking),
/// keyed by Philox. Thread-safe.
class Permutation {
 public:
  /// A pure function of its arguments. `part` tells the orders of one stream apart. Precondition: 1 <= count < 2^62.
  Permutation(uint64_t seed, uint64_t stream, uint64_t part, uint64_t count);

  uint64_t count() const { return count_; }
  /// What stands at `place`. Precondition: place < count().
  uint64_t operator()(uint64_t place) const;

 private:
  static constexpr int kRounds = 10;

  uint64_t count_;
  uint64_t left_;   // numbers of the left half; left_ * right_ >= count_
  uint64_t right_;  // and of the right one
  std::array<uint64_t, kRounds> keys_;
};

}  // namespace densityd::training
