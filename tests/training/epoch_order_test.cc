#include "server/training/epoch_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "server/training/batch_order.h"

namespace densityd::training {
namespace {

constexpr ShuffleSizes kSmall = {4, 5};

std::vector<uint64_t> All(EpochOrder order, uint64_t rows) {
  std::vector<uint64_t> all(rows);
  for (uint64_t place = 0; place < rows; ++place) all[place] = order.Row(place);
  return all;
}

TEST(EpochOrderTest, EveryRowComesOnce) {
  for (uint64_t rows = 1; rows < 150; ++rows) {
    std::vector<uint64_t> order = All(EpochOrder(3, 1, rows, kSmall), rows);
    std::sort(order.begin(), order.end());
    for (uint64_t row = 0; row < rows; ++row) ASSERT_EQ(order[row], row) << rows;
  }
}

TEST(EpochOrderTest, IsAFunctionOfSeedAndEpoch) {
  EXPECT_EQ(All(EpochOrder(3, 1, 90, kSmall), 90), All(EpochOrder(3, 1, 90, kSmall), 90));
  EXPECT_NE(All(EpochOrder(3, 1, 90, kSmall), 90), All(EpochOrder(3, 2, 90, kSmall), 90));
  EXPECT_NE(All(EpochOrder(3, 1, 90, kSmall), 90), All(EpochOrder(4, 1, 90, kSmall), 90));
}

TEST(EpochOrderTest, AWindowTakesTheRowsOfItsBlocks) {
  constexpr uint64_t kRows = 203;
  EpochOrder order(9, 0, kRows, kSmall);
  ASSERT_EQ(order.windows(), 10);
  uint64_t next_place = 0;
  for (uint64_t window = 0; window < order.windows(); ++window) {
    const RowRange places = order.Places(window);
    EXPECT_EQ(places.begin, next_place);
    next_place += places.count;
    std::set<uint64_t> expected;
    for (uint64_t block = 0; block < order.Blocks(window); ++block) {
      for (const RowRange& range : order.Block(window, block)) {
        EXPECT_LE(range.begin + range.count, kRows);
        for (uint64_t i = 0; i < range.count; ++i) expected.insert(range.begin + i);
      }
    }
    EXPECT_EQ(expected.size(), order.Blocks(window) * kSmall.block_rows);
    std::set<uint64_t> rows;
    for (uint64_t place = places.begin; place < places.begin + places.count; ++place) {
      EXPECT_EQ(order.WindowAt(place), window);
      rows.insert(order.Row(place));
    }
    // Three rows fill no block.
    EXPECT_EQ(rows.size(), expected.size() + (window + 1 == order.windows() ? 3 : 0));
    EXPECT_TRUE(std::includes(rows.begin(), rows.end(), expected.begin(), expected.end()));
  }
  EXPECT_EQ(next_place, kRows);
}

// A row comes early as often as late, also those at the ends of the data: mean place of 2000 epochs, 6 standard errors.
TEST(EpochOrderTest, ARowComesAnywhereInTheEpoch) {
  constexpr uint64_t kRows = 83;
  constexpr int kEpochs = 2000;
  std::vector<double> places(kRows);
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const std::vector<uint64_t> order = All(EpochOrder(1, epoch, kRows, kSmall), kRows);
    for (uint64_t place = 0; place < kRows; ++place) places[order[place]] += static_cast<double>(place) / kEpochs;
  }
  const double bound = 6 * kRows / std::sqrt(12.0 * kEpochs);
  for (uint64_t row = 0; row < kRows; ++row) EXPECT_NEAR(places[row], (kRows - 1) / 2.0, bound) << row;
}

TEST(BatchOrderTest, AnEpochHoldsEveryRowAtMostOnceAndStepsAreAFunctionOfTheSeed) {
  BatchOrder order(5, 10, 3, kSmall);
  BatchOrder again(5, 10, 3, kSmall);
  std::vector<int> counts(10, 0);
  for (uint64_t step = 0; step < 3; ++step) {
    for (const int64_t row : order.Batch(step)) ++counts[row];
  }
  for (const int count : counts) EXPECT_LE(count, 1);
  const std::vector<int64_t> first = order.Batch(0);
  EXPECT_NE(first, order.Batch(3));
  // A training that goes on at step 4 takes the rows that it would have taken.
  EXPECT_EQ(order.Batch(4), again.Batch(4));
}

TEST(BatchOrderTest, RowsAreToldBeforeTheyAreTaken) {
  constexpr uint64_t kRows = 400;
  constexpr uint64_t kBatch = 7;
  BatchOrder order(5, kRows, kBatch, kSmall);
  std::set<int64_t> told;
  for (uint64_t step = 0; step < kRows / kBatch; ++step) {
    for (const RowRange& range : order.Upcoming(step)) {
      for (uint64_t i = 0; i < range.count; ++i) told.insert(static_cast<int64_t>(range.begin + i));
    }
    for (const int64_t row : order.Batch(step)) EXPECT_EQ(told.count(row), 1) << step;
    // Not all at once either: the window that is taken, and a part of the next one.
    EXPECT_LE(told.size(), step * kBatch + 2 * (kSmall.window_blocks + 1) * kSmall.block_rows);
  }
}

TEST(BatchOrderTest, RowsThatStayInMemoryAreNotTold) {
  BatchOrder order(5, 39, 7, kSmall);
  for (uint64_t step = 0; step < 20; ++step) EXPECT_TRUE(order.Upcoming(step).empty());
}

}  // namespace
}  // namespace densityd::training
