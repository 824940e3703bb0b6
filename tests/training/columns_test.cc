#include "server/training/columns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::TrainRequest;
using testing::BadField;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SelectColumnsTest, EverythingIsModelledByDefault) {
  const auto selection = SelectColumns(TrainRequest(), 3, {});
  EXPECT_THAT(selection->names, ElementsAre("0", "1", "2"));
  EXPECT_THAT(selection->features, ElementsAre(0, 1, 2));
  EXPECT_THAT(selection->context, ElementsAre());
}

TEST(SelectColumnsTest, WhatIsContextIsNotModelled) {
  TrainRequest request;
  request.add_context_columns("b");
  const auto selection = SelectColumns(request, 3, {"a", "b", "c"});
  EXPECT_THAT(selection->features, ElementsAre(0, 2));
  EXPECT_THAT(selection->context, ElementsAre(1));
}

TEST(SelectColumnsTest, FeaturesComeInTheOrderOfTheRequest) {
  TrainRequest request;
  request.add_feature_columns("c");
  request.add_feature_columns("a");
  EXPECT_THAT(SelectColumns(request, 3, {"a", "b", "c"})->features, ElementsAre(2, 0));
}

TEST(SelectColumnsTest, TheRequestsNamesReplaceThoseOfTheData) {
  TrainRequest request;
  request.add_columns("x");
  request.add_columns("y");
  EXPECT_THAT(SelectColumns(request, 2, {"a", "b"})->names, ElementsAre("x", "y"));
}

TEST(SelectColumnsTest, EachMistakeIsToldWithItsField) {
  const auto refuse = [](const std::vector<std::string>& columns, const std::vector<std::string>& features,
                         const std::vector<std::string>& context) {
    TrainRequest request;
    request.mutable_columns()->Assign(columns.begin(), columns.end());
    request.mutable_feature_columns()->Assign(features.begin(), features.end());
    request.mutable_context_columns()->Assign(context.begin(), context.end());
    return SelectColumns(request, 2, {"a", "b"}).status();
  };
  EXPECT_EQ(BadField(refuse({"x"}, {}, {})), "columns");
  EXPECT_EQ(BadField(refuse({"x", "x"}, {}, {})), "columns[1]");
  EXPECT_EQ(BadField(refuse({"x", ""}, {}, {})), "columns[1]");
  EXPECT_EQ(BadField(refuse({}, {"a", "z"}, {})), "feature_columns[1]");
  EXPECT_EQ(BadField(refuse({}, {"a", "a"}, {})), "feature_columns[1]");
  EXPECT_EQ(BadField(refuse({}, {"a"}, {"a"})), "feature_columns[0]");
  EXPECT_EQ(BadField(refuse({}, {}, {"z"})), "context_columns[0]");
  EXPECT_EQ(BadField(refuse({}, {}, {"a", "b"})), "context_columns");
  EXPECT_THAT(std::string(refuse({}, {"z"}, {}).message()),
              HasSubstr("no column is called \"z\"; the data have \"a\", \"b\""));
}

}  // namespace
}  // namespace densityd::training
