// The order of the rows in one epoch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "server/training/permutation.h"

namespace densityd::training {

/// How far rows are shuffled. Neighbouring rows form blocks, which are what is read from a disk at once; blocks in
/// random order form windows, which are what stays in memory; the rows of a window come in random order. Rows of up to
/// two windows' blocks are one window: any order of them may come.
struct ShuffleSizes {
  uint64_t block_rows = 1;
  uint64_t window_blocks = 1;
};

/// Blocks of 32 KiB and windows of 64 MiB, in float32 numbers of rows of `columns`.
ShuffleSizes ShuffleSizesFor(uint64_t columns);

/// Rows [begin, begin + count).
struct RowRange {
  uint64_t begin = 0;
  uint64_t count = 0;
};

/// A random order of 0 … rows - 1, as a pure function of seed and epoch. Not thread-safe.
class EpochOrder {
 public:
  /// Precondition: rows >= 1.
  EpochOrder(uint64_t seed, uint64_t epoch, uint64_t rows, ShuffleSizes sizes);

  /// The row at `place` < rows.
  uint64_t Row(uint64_t place);

  /// Windows follow each other: the rows at Places(0), then those at Places(1), and so on.
  uint64_t windows() const { return windows_; }
  RowRange Places(uint64_t window) const;
  uint64_t WindowAt(uint64_t place) const;
  /// Blocks of a window, in no order that matters; each is a range of rows, or two where it goes on at
  /// the first row. Rows that fill no block belong to the last window, and to none of its blocks.
  uint64_t Blocks(uint64_t window) const { return FirstBlock(window + 1) - FirstBlock(window); }
  std::vector<RowRange> Block(uint64_t window, uint64_t block) const;

 private:
  uint64_t FirstBlock(uint64_t window) const { return blocks_ * window / windows_; }
  // The first row of the block that is number `block` in the order.
  uint64_t FirstRow(uint64_t block) const;

  const uint64_t seed_;
  const uint64_t stream_;
  const uint64_t rows_;
  const uint64_t block_rows_;
  const uint64_t blocks_;   // whole ones; >= 1
  const uint64_t windows_;  // >= 1
  const Permutation block_order_;
  const uint64_t offset_;  // of the first block: blocks lie elsewhere in each epoch
  uint64_t window_ = 0;    // that row_order_ is of
  std::optional<Permutation> row_order_;
};

}  // namespace densityd::training
