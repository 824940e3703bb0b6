#include "server/training/batch_order.h"

#include <algorithm>

namespace densityd::training {

BatchOrder::BatchOrder(uint64_t seed, uint64_t rows, uint64_t batch_size, ShuffleSizes sizes)
    : seed_(seed),
      rows_(rows),
      batch_size_(batch_size),
      sizes_(sizes),
      batches_per_epoch_(rows / batch_size),
      batch_(batch_size) {}

EpochOrder& BatchOrder::OrderOf(uint64_t epoch) {
  if (!order_.has_value() || epoch != epoch_) {
    epoch_ = epoch;
    order_.emplace(seed_, epoch, rows_, sizes_);
  }
  return *order_;
}

const std::vector<int64_t>& BatchOrder::Batch(uint64_t step) {
  EpochOrder& order = OrderOf(step / batches_per_epoch_);
  const uint64_t begin = step % batches_per_epoch_ * batch_size_;
  for (uint64_t i = 0; i < batch_size_; ++i) batch_[i] = static_cast<int64_t>(order.Row(begin + i));
  return batch_;
}

void BatchOrder::TellBlocks(uint64_t epoch, uint64_t window, uint64_t end, std::vector<RowRange>& ranges) {
  const uint64_t windows = OrderOf(epoch).windows();
  const uint64_t number = epoch * windows + window;
  // The first window of a next epoch has another order.
  std::optional<EpochOrder> next;
  if (window == windows) next.emplace(seed_, epoch + 1, rows_, sizes_);
  const EpochOrder& order = next.has_value() ? *next : *order_;
  const uint64_t told = window == windows ? 0 : window;
  if (told_window_ != number) {
    told_window_ = number;
    told_blocks_ = 0;
  }
  for (; told_blocks_ < std::min(end, order.Blocks(told)); ++told_blocks_) {
    for (const RowRange& range : order.Block(told, told_blocks_)) ranges.push_back(range);
  }
}

std::vector<RowRange> BatchOrder::Upcoming(uint64_t step) {
  std::vector<RowRange> ranges;
  const uint64_t epoch = step / batches_per_epoch_;
  const EpochOrder& order = OrderOf(epoch);
  if (order.windows() == 1) return ranges;
  const uint64_t place = step % batches_per_epoch_ * batch_size_;
  const uint64_t window = order.WindowAt(place);
  const uint64_t number = epoch * order.windows() + window;
  // Nobody told the window that a training begins in.
  if (!told_window_.has_value() || *told_window_ < number) TellBlocks(epoch, window, order.Blocks(window), ranges);
  const RowRange places = order.Places(window);
  const uint64_t taken = std::min(place + batch_size_ - places.begin, places.count);
  // In proportion, so that the next window is there when it begins.
  const uint64_t blocks = order.Blocks(window) + 1;
  TellBlocks(epoch, window + 1, (blocks * taken + places.count - 1) / places.count, ranges);
  return ranges;
}

}  // namespace densityd::training
