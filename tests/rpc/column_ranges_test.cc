#include "server/rpc/column_ranges.h"

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
