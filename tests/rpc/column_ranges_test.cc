#include "server/rpc/column_ranges.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::rpc {
namespace {

density::v1::ModelManifest Manifest() {
  density::v1::ModelManifest manifest;
  manifest.mutable_spec()->set_features(2);
  // Column 0 is positive: x = exp(z).
  auto& bijection = *manifest.mutable_spec()->add_layers()->mutable_bijection();
  bijection.set_kind(density::v1::Bijection::EXP);
  bijection.add_columns(0);
  manifest.mutable_spec()->add_layers()->mutable_full_affine();
  for (int j = 0; j < 2; ++j) {
    auto& column = *manifest.mutable_schema()->add_features();
    column.set_min(1 + j);
    column.set_max(5 + j);
    column.set_mean(2 + j);
    column.set_stddev(0.5);
  }
  return manifest;
}

TEST(ColumnRangesTest, AreThoseOfTheDataWithinTheSupportOfTheFlow) {
  const auto ranges = ColumnRanges(Manifest());
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[1].min, 2);
  EXPECT_EQ(ranges[1].max, 6);
  EXPECT_EQ(ranges[1].center, 3);
  EXPECT_EQ(ranges[1].spread, 0.5);
  EXPECT_EQ(ranges[0].support_low, 0);
  EXPECT_LT(ranges[1].support_low, -1e37);
  EXPECT_GT(ranges[0].support_high, 1e37);
}

TEST(ColumnRangesTest, SayWhatEachColumnHolds) {
  using density::v1::ColumnPreprocessing;
  density::v1::ModelManifest manifest;
  manifest.mutable_spec()->set_features(5);
  auto& columns = *manifest.mutable_spec()->add_layers()->mutable_preprocessing()->mutable_columns();
  for (int j = 0; j < 5; ++j) {
    auto& column = *manifest.mutable_schema()->add_features();
    column.set_min(0);
    column.set_max(1);
    column.set_stddev(0.5);
    columns.Add()->set_kind(j < 3 ? ColumnPreprocessing::INTEGER : ColumnPreprocessing::CONTINUOUS);
  }
  columns[0].set_scaling(ColumnPreprocessing::STANDARD);
  columns[1].set_scaling(ColumnPreprocessing::LOG);
  columns[1].set_low(-1);
  columns[2].set_scaling(ColumnPreprocessing::LOGIT);
  columns[2].set_low(2);
  columns[2].set_high(5);
  columns[3].set_kind(ColumnPreprocessing::CATEGORICAL);
  for (double category : {7.0, 1.0, 3.5}) columns[3].add_categories(category);
  columns[4].set_scaling(ColumnPreprocessing::STANDARD);
  const auto ranges = ColumnRanges(manifest);
  ASSERT_EQ(ranges.size(), 5u);
  for (int j = 0; j < 5; ++j) {
    EXPECT_EQ(ranges[j].is_whole, j < 3) << j;
    EXPECT_EQ(ranges[j].values != nullptr, j == 3) << j;
    EXPECT_FALSE(ranges[j].is_circle) << j;
  }
  EXPECT_LT(ranges[0].support_low, -1e37);
  EXPECT_EQ(ranges[1].support_low, -1.5) << "-1 is the first integer";
  EXPECT_GT(ranges[1].support_high, 1e37);
  EXPECT_EQ(ranges[2].support_low, 1.5);
  EXPECT_EQ(ranges[2].support_high, 5.5);
  EXPECT_EQ(*ranges[3].values, (std::vector<double>{1, 3.5, 7}));
}

TEST(ColumnRangesTest, ACircleHasItsEnds) {
  density::v1::ModelManifest manifest;
  auto& spec = *manifest.mutable_spec();
  spec.set_features(1);
  auto& column = *spec.add_layers()->mutable_preprocessing()->add_columns();
  column.set_kind(density::v1::ColumnPreprocessing::CIRCULAR);
  column.set_low(0);
  column.set_high(360);
  spec.mutable_base()->mutable_uniform_box()->set_low(-M_PI);
  spec.mutable_base()->mutable_uniform_box()->set_high(M_PI);
  auto& feature = *manifest.mutable_schema()->add_features();
  feature.set_max(359);
  feature.set_mean(180);
  feature.set_stddev(100);
  const auto ranges = ColumnRanges(manifest);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_TRUE(ranges[0].is_circle);
  EXPECT_NEAR(ranges[0].support_low, 0, 1e-12);
  EXPECT_NEAR(ranges[0].support_high, 360, 1e-12);
}

TEST(ColumnRangesTest, AreUnknownWhereTheManifestDoesNotSay) {
  density::v1::ModelManifest manifest = Manifest();
  manifest.mutable_schema()->mutable_features(1)->set_stddev(0);
  EXPECT_TRUE(ColumnRanges(manifest).empty());
  manifest = Manifest();
  manifest.clear_schema();
  EXPECT_TRUE(ColumnRanges(manifest).empty());
}

}  // namespace
}  // namespace densityd::rpc
