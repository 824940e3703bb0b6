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
using testing::MemoryRows;
using testing::Scratch;
using testing::SourceOf;

// Row i of column j is a number that no other cell has.
Table MakeTable(size_t rows, size_t cols) {
  Table table{rows, cols, {}, {}};
  for (size_t i = 0; i < rows * cols; ++i) {
    table.values.push_back(std::sin(static_cast<double>(i * i)) + static_cast<double>(i) * 1e-6);
  }
  return table;
}

SourceData MakeSource(size_t rows, size_t cols) { return SourceOf(MakeTable(rows, cols)); }

ColumnSelection AllColumns(size_t cols) { return *SelectColumns(density::v1::TrainRequest(), cols, {}); }

TEST(PrepareDataTest, SplitsEveryRowByTheSeed) {
  const SourceData source = MakeSource(100, 2);
  const TrainingData data = *PrepareData(source, AllColumns(2), TrainingOptions(), Scratch());
  EXPECT_EQ(data.train.rows, 90);
  EXPECT_EQ(data.validation.rows, 10);
  std::vector<double> all(data.train.values.begin(), data.train.values.end());
  all.insert(all.end(), data.validation.values.begin(), data.validation.values.end());
  std::sort(all.begin(), all.end());
  std::vector<double> expected = MakeTable(100, 2).values;
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(all, expected);

  TrainingOptions other;
  other.set_seed(1);
  EXPECT_EQ(PrepareData(source, AllColumns(2), TrainingOptions(), Scratch())->train.values, data.train.values);
  EXPECT_NE(PrepareData(source, AllColumns(2), other, Scratch())->train.values, data.train.values);
}

TEST(PrepareDataTest, FeaturesComeFirstThenContext) {
  const Table table = MakeTable(50, 3);
  const SourceData source = SourceOf(table);
  density::v1::TrainRequest request;
  request.add_context_columns("0");
  const TrainingData data = *PrepareData(source, *SelectColumns(request, 3, {}), TrainingOptions(), Scratch());
  EXPECT_EQ(data.features, 2);
  EXPECT_EQ(data.context_features, 1);
  const double context = data.train.values[2];
  const auto row = std::find(table.values.begin(), table.values.end(), context);
  ASSERT_NE(row, table.values.end());
  EXPECT_EQ(data.train.values[0], *(row + 1));
  EXPECT_EQ(data.train.values[1], *(row + 2));
  EXPECT_EQ(data.schema.features(0).name(), "1");
  EXPECT_EQ(data.schema.context(0).name(), "0");
}

TEST(PrepareDataTest, TheSchemaDescribesTheTrainSplit) {
  const TrainingData data = *PrepareData(MakeSource(100, 1), AllColumns(1), TrainingOptions(), Scratch());
  const auto [low, high] = std::minmax_element(data.train.values.begin(), data.train.values.end());
  EXPECT_EQ(data.schema.features(0).min(), *low);
  EXPECT_EQ(data.schema.features(0).max(), *high);
}

TEST(PrepareDataTest, TheDigestFollowsTheRowsAndNotTheSplit) {
  const SourceData source = MakeSource(100, 2);
  TrainingOptions other;
  other.set_seed(1);
  const std::string digest = PrepareData(source, AllColumns(2), TrainingOptions(), Scratch())->sha256;
  EXPECT_EQ(digest.size(), 64);
  EXPECT_EQ(PrepareData(source, AllColumns(2), other, Scratch())->sha256, digest);
  EXPECT_NE(PrepareData(MakeSource(101, 2), AllColumns(2), TrainingOptions(), Scratch())->sha256, digest);
}

TEST(PrepareDataTest, ANonFiniteNumberIsToldWithRowAndColumn) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), -1e39}) {
    Table table = MakeTable(100, 2);
    table.values[2 * 17 + 1] = bad;
    const absl::Status status = PrepareData(SourceOf(table), AllColumns(2), TrainingOptions(), Scratch()).status();
    EXPECT_EQ(BadField(status), "rows[17]") << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("row 17: column \"1\" holds")) << bad;
  }
}

TEST(PrepareDataTest, ANonFiniteNumberInAColumnThatIsNotUsedDoesNotMatter) {
  Table table = MakeTable(100, 2);
  table.values[1] = std::nan("");
  density::v1::TrainRequest request;
  request.add_feature_columns("0");
  EXPECT_TRUE(PrepareData(SourceOf(table), *SelectColumns(request, 2, {}), TrainingOptions(), Scratch()).ok());
}

TEST(PrepareDataTest, TooFewRowsAreRefused) {
  EXPECT_EQ(BadField(PrepareData(MakeSource(9, 2), AllColumns(2), TrainingOptions(), Scratch()).status()), "rows");
  EXPECT_TRUE(PrepareData(MakeSource(10, 2), AllColumns(2), TrainingOptions(), Scratch()).ok());
}

TEST(PrepareDataTest, ConstantAndDuplicatedColumnsAreRefusedByName) {
  Table constant = MakeTable(100, 2);
  Table duplicated = MakeTable(100, 2);
  for (size_t row = 0; row < 100; ++row) {
    constant.values[2 * row + 1] = 4;
    duplicated.values[2 * row + 1] = 3 * duplicated.values[2 * row] - 1;
  }
  EXPECT_THAT(
      std::string(PrepareData(SourceOf(constant), AllColumns(2), TrainingOptions(), Scratch()).status().message()),
      HasSubstr("column \"1\" is constant"));
  EXPECT_THAT(
      std::string(PrepareData(SourceOf(duplicated), AllColumns(2), TrainingOptions(), Scratch()).status().message()),
      HasSubstr("columns \"0\" and \"1\" are duplicates"));
}

TEST(PrepareDataTest, RowsKeepTheirOrderAndAnyOfThemIsHeldOut) {
  const Table table = MakeTable(1000, 1);
  std::vector<int> held_out(table.rows);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    TrainingOptions options;
    options.set_seed(seed);
    const TrainingData data = *PrepareData(SourceOf(table), AllColumns(1), options, Scratch());
    size_t train = 0;
    size_t validation = 0;
    for (size_t row = 0; row < table.rows; ++row) {
      const bool is_train = train < data.train.rows && data.train.values[train] == table.values[row];
      ASSERT_EQ((is_train ? data.train : data.validation).values[(is_train ? train : validation)++], table.values[row]);
      held_out[row] += is_train ? 0 : 1;
    }
  }
  // Binomial(100, 0.1): 0 and 31 are beyond seven standard deviations or happen to one row in 40,000.
  EXPECT_GT(*std::min_element(held_out.begin(), held_out.end()), 0);
  EXPECT_LT(*std::max_element(held_out.begin(), held_out.end()), 31);
}

class DataWatchTest : public ::testing::Test {
 protected:
  DataWatchTest()
      : rows_(dynamic_cast<MemoryRows&>(*source_.rows)),
        watch_(source_, columns_, PrepareData(source_, columns_, TrainingOptions(), Scratch())->sha256, rows_.stamp) {}

  const SourceData source_ = MakeSource(50, 2);
  const ColumnSelection columns_ = AllColumns(2);
  MemoryRows& rows_;
  DataWatch watch_;
};

TEST_F(DataWatchTest, RowsThatAreTouchedButNotChangedAreFine) {
  EXPECT_TRUE(watch_.Check().ok());
  rows_.stamp.modified_ns = 1;
  EXPECT_TRUE(watch_.Check().ok());
  EXPECT_TRUE(watch_.Check().ok());
}

TEST_F(DataWatchTest, RowsThatHaveChangedAreTold) {
  rows_.table().values[5] += 1;
  rows_.stamp.modified_ns = 1;
  for (int time = 0; time < 2; ++time) {
    const absl::Status status = watch_.Check();
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr("the data (inline) have changed since the training began"));
  }
}

TEST_F(DataWatchTest, RowsThatAreFewerAreTold) {
  rows_.table().rows -= 1;
  rows_.table().values.resize(rows_.table().rows * 2);
  rows_.stamp.bytes = 1;
  EXPECT_TRUE(absl::IsFailedPrecondition(watch_.Check()));
}

}  // namespace
}  // namespace densityd::training
