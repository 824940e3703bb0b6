#include "server/training/fit_columns.h"

#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/spec.h"
#include "server/training/request_check.h"
#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using ::testing::HasSubstr;

density::v1::Preset ParsePreset(const std::string& text) {
  density::v1::Preset preset;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &preset)) << text;
  return preset;
}

/// Two columns, "angle" and "level"; the last row is held out.
TrainingData DataOf(std::vector<double> train, std::vector<double> validation) {
  TrainingData data;
  data.features = 2;
  data.train = testing::Selected(std::move(train), 2);
  data.validation = testing::Selected(std::move(validation), 2);
  for (const char* name : {"angle", "level"}) data.schema.add_features()->set_name(name);
  return data;
}

TEST(CheckWithinDensityTest, AnAngleBeyondItsCircleIsNamed) {
  const auto spec = flow::ExpandPreset(ParsePreset("name: 'circular_nsf' circular: [0] no_standardize: true"), 2, 0);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(CheckWithinDensity(DataOf({-3, 100, 0, -100, M_PI, 5}, {3, 7}), *spec).ok());
  // Rounded up by who stored it in float32.
  EXPECT_TRUE(CheckWithinDensity(DataOf({static_cast<float>(M_PI), 0}, {3, 7}), *spec).ok());
  for (const auto& data : {DataOf({0, 100, 3.5, 0}, {0, 0}), DataOf({0, 100}, {0, 0, 3.5, 0})}) {
    const absl::Status status = CheckWithinDensity(data, *spec);
    EXPECT_EQ(testing::BadField(status), "feature_columns");
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("column \"angle\" holds 3.5, where the density of this flow is "
                          "zero: it is defined within [-3.14159, 3.14159]"));
  }
}

TEST(CheckWithinDensityTest, AllNumbersAreWithinAFlowOfTheWholeLine) {
  const auto spec = flow::ExpandPreset(ParsePreset("name: 'maf' no_standardize: true"), 2, 0);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(CheckWithinDensity(DataOf({-1e30, 1e30, 0, 0}, {1e6, 0}), *spec).ok());
}

TEST(ResolveSpecTest, AContextThatNothingReadsIsRefused) {
  ColumnSelection columns;
  columns.features = {0, 1};
  columns.context = {2};
  density::v1::TrainRequest request;
  *request.mutable_preset() = ParsePreset("name: 'affine'");
  EXPECT_EQ(testing::BadField(ResolveSpec(request, columns).status()), "context_columns");
  *request.mutable_preset() = ParsePreset("name: 'affine' base { conditional_diagonal_normal {} }");
  EXPECT_TRUE(ResolveSpec(request, columns).ok()) << ResolveSpec(request, columns).status();
  const auto spec = flow::ExpandPreset(ParsePreset("name: 'affine'"), 2, 1);
  ASSERT_TRUE(spec.ok()) << spec.status();
  *request.mutable_spec() = *spec;
  EXPECT_EQ(testing::BadField(ResolveSpec(request, columns).status()), "context_columns");
}

}  // namespace
}  // namespace densityd::training
