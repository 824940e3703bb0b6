#include "server/training/permutation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace densityd::training {
namespace {

std::vector<uint64_t> All(const Permutation& permutation) {
  std::vector<uint64_t> order(permutation.count());
  for (uint64_t place = 0; place < order.size(); ++place) order[place] = permutation(place);
  return order;
}

std::vector<uint64_t> Order(uint64_t seed, uint64_t stream, uint64_t part, uint64_t count) {
  return All(Permutation(seed, stream, part, count));
}

TEST(PermutationTest, HoldsEveryIndexOnce) {
  for (uint64_t count = 1; count < 300; ++count) {
    std::vector<uint64_t> order = Order(7, 3, 0, count);
    std::sort(order.begin(), order.end());
    std::vector<uint64_t> expected(count);
    std::iota(expected.begin(), expected.end(), 0);
    ASSERT_EQ(order, expected);
  }
  std::vector<bool> met(1'000'003);
  for (const uint64_t index : Order(7, 3, 0, met.size())) met.at(index) = true;
  EXPECT_EQ(std::count(met.begin(), met.end(), false), 0);
}

TEST(PermutationTest, StaysWithinItsBoundsHoweverLarge) {
  const uint64_t count = (uint64_t{1} << 61) + 12345;
  const Permutation permutation(1, 2, 3, count);
  for (uint64_t place = 0; place < 1000; ++place) {
    EXPECT_LT(permutation(place), count);
    EXPECT_LT(permutation(count - 1 - place), count);
  }
}

TEST(PermutationTest, IsAFunctionOfSeedStreamAndPart) {
  EXPECT_EQ(Order(7, 3, 0, 100), Order(7, 3, 0, 100));
  EXPECT_NE(Order(7, 3, 0, 100), Order(8, 3, 0, 100));
  EXPECT_NE(Order(7, 3, 0, 100), Order(7, 4, 0, 100));
  EXPECT_NE(Order(7, 3, 0, 100), Order(7, 3, 1, 100));
}

// Each of the 24 orders of four numbers is as likely: chi-squared with 23 degrees of freedom, 0.1 % level.
TEST(PermutationTest, EveryOrderIsAsLikely) {
  constexpr int kDraws = 24'000;
  std::vector<int> counts(256, 0);
  for (int draw = 0; draw < kDraws; ++draw) {
    int code = 0;
    for (const uint64_t index : Order(42, draw, 0, 4)) code = 4 * code + static_cast<int>(index);
    ++counts[code];
  }
  double chi_squared = 0;
  for (const int count : counts) {
    if (count > 0) chi_squared += (count - 1000.0) * (count - 1000.0) / 1000.0;
  }
  EXPECT_EQ(std::count_if(counts.begin(), counts.end(), [](int count) { return count > 0; }), 24);
  EXPECT_LT(chi_squared, 49.7);
}

// How far neighbours are moved apart, and where a number comes to lie, are as for orders without any pattern: 1000
// numbers, chi-squared with 99 degrees of freedom, 0.1 % level.
TEST(PermutationTest, NeighboursAndPlacesShowNoPattern) {
  constexpr uint64_t kCount = 1000;
  constexpr uint64_t kDraws = 200;
  std::vector<double> distances(100);
  std::vector<double> places(100);
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    const std::vector<uint64_t> order = Order(42, draw, 0, kCount);
    for (uint64_t i = 0; i + 1 < kCount; i += 2) ++distances[(order[i + 1] + kCount - order[i]) % kCount / 10];
    ++places[order[17] / 10];
    for (uint64_t i = 100; i < 149; ++i) ++places[order[i] / 10];
  }
  double of_distances = 0;
  // A distance is never 0: the first of the bins has nine values, not ten.
  const double share = static_cast<double>(kDraws) * (kCount / 2) / (kCount - 1);
  for (size_t i = 0; i < 100; ++i) {
    const double expected = share * (i == 0 ? 9 : 10);
    of_distances += (distances[i] - expected) * (distances[i] - expected) / expected;
  }
  EXPECT_LT(of_distances, 148.3);
  double of_places = 0;
  for (const double count : places) of_places += (count - 100.0) * (count - 100.0) / 100.0;
  EXPECT_LT(of_places, 148.3);
}

}  // namespace
}  // namespace densityd::training
