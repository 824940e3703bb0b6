#include "server/training/permutation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace densityd::training {
namespace {

TEST(SeededPermutationTest, HoldsEveryIndexOnce) {
  for (const size_t count : {0, 1, 2, 1000}) {
    std::vector<int64_t> order = SeededPermutation(7, 3, count);
    std::sort(order.begin(), order.end());
    std::vector<int64_t> expected(count);
    std::iota(expected.begin(), expected.end(), int64_t{0});
    EXPECT_EQ(order, expected);
  }
}

TEST(SeededPermutationTest, IsAFunctionOfSeedAndStream) {
  EXPECT_EQ(SeededPermutation(7, 3, 100), SeededPermutation(7, 3, 100));
  EXPECT_NE(SeededPermutation(7, 3, 100), SeededPermutation(8, 3, 100));
  EXPECT_NE(SeededPermutation(7, 3, 100), SeededPermutation(7, 4, 100));
}

// Each of the 24 orders of four numbers is as likely: chi-squared with 23 degrees of freedom, 0.1 % level.
TEST(SeededPermutationTest, EveryOrderIsAsLikely) {
  constexpr int kDraws = 24'000;
  std::vector<int> counts(256, 0);
  for (int draw = 0; draw < kDraws; ++draw) {
    int code = 0;
    for (const int64_t index : SeededPermutation(42, draw, 4)) code = 4 * code + static_cast<int>(index);
    ++counts[code];
  }
  double chi_squared = 0;
  for (const int count : counts) {
    if (count > 0) chi_squared += (count - 1000.0) * (count - 1000.0) / 1000.0;
  }
  EXPECT_EQ(std::count_if(counts.begin(), counts.end(), [](int count) { return count > 0; }), 24);
  EXPECT_LT(chi_squared, 49.7);
}

}  // namespace
}  // namespace densityd::training
