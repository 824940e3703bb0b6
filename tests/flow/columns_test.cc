// Which columns masks, squeezes, permutations and the degrees of masked networks mean.
#include "server/flow/columns.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flow/made_degrees.h"
#include "server/flow/row_shape.h"

namespace densityd::flow {
namespace {

using density::v1::Mask;
using density::v1::Permutation;
using testing::Each;
using testing::ElementsAre;

TEST(Columns, MasksPartitionTheColumns) {
  for (int pattern = Mask::ALTERNATING_EVEN; pattern <= Mask::SECOND_HALF; ++pattern) {
    Mask mask;
    mask.set_pattern(static_cast<Mask::Pattern>(pattern));
    Columns all = TransformedColumns(mask, 5);
    EXPECT_EQ(all.size(), pattern == Mask::ALTERNATING_EVEN || pattern == Mask::SECOND_HALF ? 3u : 2u);
    const Columns rest = OtherColumns(all, 5);
    all.insert(all.end(), rest.begin(), rest.end());
    EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), 5u);
  }
}

TEST(Columns, AMaskThatNamesColumnsNamesASetOfThem) {
  Mask mask;
  for (const uint32_t column : {3, 0, 1}) mask.add_transformed(column);
  EXPECT_THAT(TransformedColumns(mask, 5), ElementsAre(0, 1, 3));
}

TEST(Columns, MasksOfImagesCoverPixelsAndChannels) {
  // Three channels of 2 x 3.
  const RowShape shape = {18, 3, 2, 3};
  const auto of = [&](Mask::Pattern pattern) {
    Mask mask;
    mask.set_pattern(pattern);
    return TransformedColumns(mask, shape);
  };
  EXPECT_THAT(of(Mask::CHECKERBOARD_EVEN), ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 16));
  EXPECT_THAT(of(Mask::CHECKERBOARD_ODD), ElementsAre(1, 3, 5, 7, 9, 11, 13, 15, 17));
  EXPECT_THAT(of(Mask::FIRST_CHANNELS), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(of(Mask::LAST_CHANNELS), ElementsAre(6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17));
  EXPECT_THAT(ChannelsWith({0, 5, 17}, shape), ElementsAre(0, 2));
}

TEST(Columns, CheckerboardsOfEvenWidthAlternateFromRowToRow) {
  Mask mask;
  mask.set_pattern(Mask::CHECKERBOARD_EVEN);
  EXPECT_THAT(TransformedColumns(mask, RowShape{8, 2, 2, 2}), ElementsAre(0, 3, 4, 7));
}

TEST(Columns, ASqueezeTakesEachSquareOfAChannelApart) {
  // Two channels of 2 x 4.
  EXPECT_THAT(SqueezeColumns({16, 2, 2, 4}), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  EXPECT_THAT(SqueezeColumns({16, 1, 4, 4}), ElementsAre(0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15));
}

TEST(Columns, RandomPermutationsNeverChange) {
  Permutation permutation;
  permutation.set_kind(Permutation::RANDOM);
  permutation.set_seed(1);
  // Stored models depend on this very order.
  EXPECT_THAT(PermutationColumns(permutation, 6), ElementsAre(1, 3, 0, 4, 5, 2));
  EXPECT_THAT(InversePermutation({2, 0, 1}), ElementsAre(1, 2, 0));
}

TEST(MadeDegrees, HiddenUnitsServeEveryColumnEvenly) {
  EXPECT_THAT(HiddenDegrees(6, 4, /*has_context=*/false), ElementsAre(1, 1, 2, 2, 3, 3));
  EXPECT_THAT(HiddenDegrees(8, 4, /*has_context=*/true), ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
  EXPECT_THAT(HiddenDegrees(3, 1, /*has_context=*/false), Each(0));
  // Fewer units than degrees: the first and the last degree are kept.
  const std::vector<int64_t> few = HiddenDegrees(5, 100, /*has_context=*/false);
  EXPECT_EQ(few.front(), 1);
  EXPECT_EQ(few.back(), 99);
}

TEST(MadeDegrees, FollowTheOrderOfTheColumns) {
  EXPECT_THAT(InputDegrees({2, 0, 1}, 2), ElementsAre(2, 3, 1, 0, 0));
  EXPECT_THAT(OutputDegrees({2, 0, 1}, 2), ElementsAre(1, 1, 2, 2, 0, 0));
}

}  // namespace
}  // namespace densityd::flow
