#include "server/training/column_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/training/training_testing.h"

namespace densityd::training {
namespace {

using density::v1::Column;
using testing::BadField;
using ::testing::HasSubstr;

// Rows whose columns are functions of the row.
struct Rows {
  std::vector<double> values;
  std::vector<Column> columns;
};

Rows MakeRows(size_t rows, const std::vector<std::function<double(size_t)>>& columns) {
  Rows made;
  for (size_t row = 0; row < rows; ++row) {
    for (const auto& column : columns) made.values.push_back(column(row));
  }
  made.columns = Summarize(made.values, columns.size());
  for (size_t i = 0; i < columns.size(); ++i) made.columns[i].set_name("c" + std::to_string(i));
  return made;
}

double Wave(size_t row) { return std::sin(static_cast<double>(row) * 1.7); }
double OtherWave(size_t row) { return std::cos(static_cast<double>(row) * 0.3); }

TEST(SummarizeTest, GivesRangeAndMoments) {
  const std::vector<Column> columns = Summarize(std::vector<double>{1, 9, 3, std::nan(""), 5, 8}, 2);
  EXPECT_EQ(columns[1].min(), 8);
  EXPECT_EQ(columns[1].mean(), 8.5);
  EXPECT_EQ(columns[1].stddev(), 0.5);
  const Column& column = columns[0];
  EXPECT_EQ(column.min(), 1);
  EXPECT_EQ(column.max(), 5);
  EXPECT_DOUBLE_EQ(column.mean(), 3);
  EXPECT_DOUBLE_EQ(column.stddev(), std::sqrt(8.0 / 3));
}

TEST(SummarizeTest, KeepsTheSpreadOfALargeOffset) {
  std::vector<double> values;
  for (int i = 0; i < 1000; ++i) values.push_back(1e12 + (i % 2));
  EXPECT_NEAR(Summarize(values, 1)[0].stddev(), 0.5, 1e-6);
}

TEST(CheckNotConstantTest, NamesTheColumnAndItsRole) {
  const Rows rows = MakeRows(50, {Wave, [](size_t) { return 3.5; }});
  absl::Status status = CheckNotConstant(rows.columns, 2);
  EXPECT_EQ(BadField(status), "feature_columns");
  EXPECT_THAT(std::string(status.message()), HasSubstr("column \"c1\" is constant (3.5"));
  EXPECT_EQ(BadField(CheckNotConstant(rows.columns, 1)), "context_columns");
  EXPECT_TRUE(CheckNotConstant({rows.columns[0]}, 1).ok());
}

TEST(CheckNotConstantTest, AColumnWithNoiseMayBeConstant) {
  const Rows rows = MakeRows(50, {[](size_t) { return 3.0; }, [](size_t) { return 0.0; }});
  EXPECT_TRUE(CheckNotConstant(rows.columns, 2, {true, true}).ok());
  EXPECT_THAT(std::string(CheckNotConstant(rows.columns, 2, {true, false}).message()), HasSubstr("column \"c1\""));
  // Context has no density.
  EXPECT_EQ(BadField(CheckNotConstant(rows.columns, 1, {true})), "context_columns");
}

TEST(CheckNotDuplicatedTest, NoiseOnBothOfTwoColumnsTellsThemApart) {
  const Rows rows = MakeRows(500, {Wave, Wave});
  EXPECT_TRUE(CheckNotDuplicated(rows.values, rows.columns, 2, {true, true}).ok());
  EXPECT_FALSE(CheckNotDuplicated(rows.values, rows.columns, 2, {true, false}).ok());
  EXPECT_FALSE(CheckNotDuplicated(rows.values, rows.columns, 2, {false, true}).ok());
  // The second one is context.
  EXPECT_TRUE(CheckNotDuplicated(rows.values, rows.columns, 1, {true}).ok());
  EXPECT_FALSE(CheckNotDuplicated(rows.values, rows.columns, 1, {false}).ok());
}

TEST(CheckNotDuplicatedTest, FindsLinearFunctionsOfEitherSign) {
  for (const double factor : {1.0, -1.0, 1e-3, -1000.0}) {
    const Rows rows = MakeRows(10'000, {OtherWave, Wave, [&](size_t row) { return factor * Wave(row) + 7; }});
    const absl::Status status = CheckNotDuplicated(rows.values, rows.columns, 3);
    EXPECT_EQ(BadField(status), "feature_columns") << factor;
    EXPECT_THAT(std::string(status.message()), HasSubstr("columns \"c1\" and \"c2\" are duplicates")) << factor;
  }
}

TEST(CheckNotDuplicatedTest, ACopyRoundedToFloat32IsADuplicate) {
  const Rows rows = MakeRows(500, {Wave, [](size_t row) { return static_cast<float>(2 * Wave(row)); }});
  EXPECT_FALSE(CheckNotDuplicated(rows.values, rows.columns, 2).ok());
}

TEST(CheckNotDuplicatedTest, ColumnsThatDifferInOneRowAreNoDuplicates) {
  const Rows rows = MakeRows(10'000, {Wave, [](size_t row) { return Wave(row) + (row == 9'000 ? 0.01 : 0); }});
  EXPECT_TRUE(CheckNotDuplicated(rows.values, rows.columns, 2).ok());
}

TEST(CheckNotDuplicatedTest, AFeatureThatCopiesTheContextIsRefusedButNotContextThatCopiesContext) {
  const Rows rows = MakeRows(500, {Wave, OtherWave, OtherWave});
  EXPECT_TRUE(CheckNotDuplicated(rows.values, rows.columns, 1).ok());
  EXPECT_FALSE(CheckNotDuplicated(rows.values, rows.columns, 2).ok());
}

}  // namespace
}  // namespace densityd::training
