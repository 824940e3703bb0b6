// Which rows each step is taken on.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "server/training/epoch_order.h"

namespace densityd::training {

/// Batches without replacement: every epoch goes through a new random order of the rows, and leaves out the remainder
/// that fills no batch. A pure function of (seed, step). Not thread-safe.
class BatchOrder {
 public:
  /// Precondition: 1 <= batch_size <= rows.
  BatchOrder(uint64_t seed, uint64_t rows, uint64_t batch_size, ShuffleSizes sizes);

  /// Indices of the rows of step `step`: (batch_size). Valid until the next call.
  const std::vector<int64_t>& Batch(uint64_t step);

  /// Rows that the steps after `step` will take and that were not told before; to be called for one step after another.
  /// A window's rows are told, a few at each step, while the steps take those of the window before. Empty where all
  /// rows are one window: they stay in memory.
  std::vector<RowRange> Upcoming(uint64_t step);

 private:
  EpochOrder& OrderOf(uint64_t epoch);
  // Blocks of the window after (epoch, window) up to block `end`.
  void TellBlocks(uint64_t epoch, uint64_t window, uint64_t end, std::vector<RowRange>& ranges);

  const uint64_t seed_;
  const uint64_t rows_;
  const uint64_t batch_size_;
  const ShuffleSizes sizes_;
  const uint64_t batches_per_epoch_;
  uint64_t epoch_ = 0;
  std::optional<EpochOrder> order_;
  std::vector<int64_t> batch_;
  // The window that is told, as its number since the first epoch, and how many of its blocks were.
  std::optional<uint64_t> told_window_;
  uint64_t told_blocks_ = 0;
};

}  // namespace densityd::training
