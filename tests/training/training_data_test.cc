#include "server/training/training_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::TrainingOptions;
using testing::BadField;
using ::testing::HasSubstr;

// Row i of column j is a number that no other cell has.
SourceData MakeSource(size_t rows, size_t cols) {
  SourceData source;
  source.field = "rows";
  source.description = "inline";
  source.table.rows = rows;
  source.table.cols = cols;
  for (size_t i = 0; i < rows * cols; ++i) {
    source.table.values.push_back(std::sin(static_cast<double>(i * i)) + static_cast<double>(i) * 1e-6);
  }
  return source;
}

ColumnSelection AllColumns(size_t cols) { return *SelectColumns(density::v1::TrainRequest(), cols, {}); }

TEST(PrepareDataTest, SplitsEveryRowByTheSeed) {
  const SourceData source = MakeSource(100, 2);
  const TrainingData data = *PrepareData(source, AllColumns(2), TrainingOptions());
  EXPECT_EQ(data.train.rows, 90);
  EXPECT_EQ(data.validation.rows, 10);
  std::vector<double> all = data.train.values;
  all.insert(all.end(), data.validation.values.begin(), data.validation.values.end());
  std::sort(all.begin(), all.end());
  std::vector<double> expected = source.table.values;
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(all, expected);

  TrainingOptions other;
  other.set_seed(1);
  EXPECT_EQ(PrepareData(source, AllColumns(2), TrainingOptions())->train.values, data.train.values);
  EXPECT_NE(PrepareData(source, AllColumns(2), other)->train.values, data.train.values);
}

TEST(PrepareDataTest, FeaturesComeFirstThenContext) {
  const SourceData source = MakeSource(50, 3);
  density::v1::TrainRequest request;
  request.add_context_columns("0");
  const TrainingData data = *PrepareData(source, *SelectColumns(request, 3, {}), TrainingOptions());
  EXPECT_EQ(data.features, 2);
  EXPECT_EQ(data.context_features, 1);
  const double context = data.train.values[2];
  const auto row = std::find(source.table.values.begin(), source.table.values.end(), context);
  ASSERT_NE(row, source.table.values.end());
  EXPECT_EQ(data.train.values[0], *(row + 1));
  EXPECT_EQ(data.train.values[1], *(row + 2));
  EXPECT_EQ(data.schema.features(0).name(), "1");
  EXPECT_EQ(data.schema.context(0).name(), "0");
}

TEST(PrepareDataTest, TheSchemaDescribesTheTrainSplit) {
  const TrainingData data = *PrepareData(MakeSource(100, 1), AllColumns(1), TrainingOptions());
  const auto [low, high] = std::minmax_element(data.train.values.begin(), data.train.values.end());
  EXPECT_EQ(data.schema.features(0).min(), *low);
  EXPECT_EQ(data.schema.features(0).max(), *high);
}

TEST(PrepareDataTest, TheDigestFollowsTheRowsAndNotTheSplit) {
  const SourceData source = MakeSource(100, 2);
  TrainingOptions other;
  other.set_seed(1);
  const std::string digest = PrepareData(source, AllColumns(2), TrainingOptions())->sha256;
  EXPECT_EQ(digest.size(), 64);
  EXPECT_EQ(PrepareData(source, AllColumns(2), other)->sha256, digest);
  EXPECT_NE(PrepareData(MakeSource(101, 2), AllColumns(2), TrainingOptions())->sha256, digest);
}

TEST(PrepareDataTest, ANonFiniteNumberIsToldWithRowAndColumn) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -1e39}) {
    SourceData source = MakeSource(100, 2);
    source.table.values[2 * 17 + 1] = bad;
    const absl::Status status = PrepareData(source, AllColumns(2), TrainingOptions()).status();
    EXPECT_EQ(BadField(status), "rows[17]") << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("row 17: column \"1\" holds")) << bad;
  }
}

TEST(PrepareDataTest, ANonFiniteNumberInAColumnThatIsNotUsedDoesNotMatter) {
  SourceData source = MakeSource(100, 2);
  source.table.values[1] = std::nan("");
  density::v1::TrainRequest request;
  request.add_feature_columns("0");
  EXPECT_TRUE(PrepareData(source, *SelectColumns(request, 2, {}), TrainingOptions()).ok());
}

TEST(PrepareDataTest, TooFewRowsAreRefused) {
  EXPECT_EQ(BadField(PrepareData(MakeSource(9, 2), AllColumns(2), TrainingOptions()).status()), "rows");
  EXPECT_TRUE(PrepareData(MakeSource(10, 2), AllColumns(2), TrainingOptions()).ok());
}

TEST(PrepareDataTest, ConstantAndDuplicatedColumnsAreRefusedByName) {
  SourceData constant = MakeSource(100, 2);
  SourceData duplicated = MakeSource(100, 2);
  for (size_t row = 0; row < 100; ++row) {
    constant.table.values[2 * row + 1] = 4;
    duplicated.table.values[2 * row + 1] = 3 * duplicated.table.values[2 * row] - 1;
  }
  EXPECT_THAT(std::string(PrepareData(constant, AllColumns(2), TrainingOptions()).status().message()),
              HasSubstr("column \"1\" is constant"));
  EXPECT_THAT(std::string(PrepareData(duplicated, AllColumns(2), TrainingOptions()).status().message()),
              HasSubstr("columns \"0\" and \"1\" are duplicates"));
}

}  // namespace
}  // namespace densityd::training
