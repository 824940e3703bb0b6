#include "server/training/epoch_order.h"

#include <algorithm>

namespace densityd::training {
namespace {

constexpr uint64_t kBlockBytes = uint64_t{32} << 10;
constexpr uint64_t kWindowBytes = uint64_t{64} << 20;

// Parts of an epoch's stream.
constexpr uint64_t kBlockOrder = 0;
constexpr uint64_t kOffset = 1;
constexpr uint64_t kFirstWindow = 2;

}  // namespace

ShuffleSizes ShuffleSizesFor(uint64_t columns) {
  return {std::max<uint64_t>(1, kBlockBytes / (columns * sizeof(float))), kWindowBytes / kBlockBytes};
}

EpochOrder::EpochOrder(uint64_t seed, uint64_t epoch, uint64_t rows, ShuffleSizes sizes)
    : seed_(seed),
      stream_(kFirstEpochStream + epoch),
      rows_(rows),
      block_rows_(std::min(sizes.block_rows, rows)),
      blocks_(rows / block_rows_),
      windows_(std::max<uint64_t>(1, blocks_ / sizes.window_blocks)),
      block_order_(seed, stream_, kBlockOrder, blocks_),
      offset_(Permutation(seed, stream_, kOffset, rows)(0)) {}

RowRange EpochOrder::Places(uint64_t window) const {
  const uint64_t begin = FirstBlock(window) * block_rows_;
  const uint64_t end = window + 1 == windows_ ? rows_ : FirstBlock(window + 1) * block_rows_;
  return {begin, end - begin};
}

uint64_t EpochOrder::WindowAt(uint64_t place) const {
  const uint64_t block = std::min(place / block_rows_, blocks_ - 1);
  // The window w with FirstBlock(w) <= block < FirstBlock(w + 1).
  return ((block + 1) * windows_ - 1) / blocks_;
}

uint64_t EpochOrder::FirstRow(uint64_t block) const { return (offset_ + block_order_(block) * block_rows_) % rows_; }

std::vector<RowRange> EpochOrder::Block(uint64_t window, uint64_t block) const {
  const uint64_t begin = FirstRow(FirstBlock(window) + block);
  const uint64_t first_count = std::min(block_rows_, rows_ - begin);
  std::vector<RowRange> ranges = {{begin, first_count}};
  if (first_count < block_rows_) ranges.push_back({0, block_rows_ - first_count});
  return ranges;
}

uint64_t EpochOrder::Row(uint64_t place) {
  const uint64_t window = WindowAt(place);
  const RowRange places = Places(window);
  if (!row_order_.has_value() || window != window_) {
    window_ = window;
    row_order_.emplace(seed_, stream_, kFirstWindow + window, places.count);
  }
  const uint64_t shuffled = places.begin + (*row_order_)(place - places.begin);
  const uint64_t block = shuffled / block_rows_;
  // Behind the last whole block are the rows that fill none.
  if (block >= blocks_) return (offset_ + shuffled) % rows_;
  return (FirstRow(block) + shuffled % block_rows_) % rows_;
}

}  // namespace densityd::training
