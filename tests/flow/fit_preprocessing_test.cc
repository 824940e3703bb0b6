// Preprocessing is fitted to data: the numbers are right, the choice is sensible, and what cannot be is refused.
#include "server/flow/fit_preprocessing.h"

#include <cmath>
#include <functional>
#include <numbers>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/column_map.h"

namespace densityd::flow {
namespace {

using density::v1::ColumnPreprocessing;
using density::v1::Preprocessing;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr size_t kRows = 4000;

/// `map` of standard normal numbers.
std::vector<double> Column(const std::function<double(double)>& map, size_t rows = kRows) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  std::vector<double> column(rows);
  for (double& number : column) number = map(normal(random));
  return column;
}

ColumnRows Rows(const std::vector<double>& column) { return {column, 1, 0, 1}; }

Preprocessing Parse(const std::string& column) {
  Preprocessing preprocessing;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("columns { " + column + " }", &preprocessing)) << column;
  EXPECT_TRUE(CheckPreprocessing(preprocessing, 1, ColumnRole::kFeatures, "p").ok()) << column;
  return preprocessing;
}

absl::Status Fit(const std::vector<double>& column, Preprocessing& preprocessing,
                 const std::vector<double>& held_out = {}) {
  return FitPreprocessing(Rows(column), Rows(held_out), ColumnRole::kFeatures, "p", preprocessing);
}

/// The column fitted, and complete.
ColumnPreprocessing Fitted(const std::string& text, const std::vector<double>& column,
                           const std::vector<double>& held_out = {}) {
  Preprocessing preprocessing = text.empty() ? Preprocessing() : Parse(text);
  EXPECT_TRUE(Fit(column, preprocessing, held_out).ok()) << Fit(column, preprocessing, held_out);
  EXPECT_TRUE(CheckFittedPreprocessing(preprocessing, ColumnRole::kFeatures, "p").ok());
  EXPECT_TRUE(CheckPreprocessing(preprocessing, 1, ColumnRole::kFeatures, "p").ok());
  return preprocessing.columns(0);
}

std::string Refusal(const std::string& text, const std::vector<double>& column) {
  Preprocessing preprocessing = Parse(text);
  const absl::Status status = Fit(column, preprocessing);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(FitPreprocessing, StandardisesWhatTheMapGives) {
  const std::vector<double> prices = Column([](double z) { return std::exp(2 + 0.5 * z); });
  for (const std::string scaling : {"STANDARD", "LOG", "YEO_JOHNSON", "LOGIT low: 0 high: 1e6"}) {
    const ColumnForm form = FormOf(Fitted("kind: CONTINUOUS scaling: " + scaling, prices));
    double sum = 0;
    double squares = 0;
    for (double price : prices) {
      const double z = MapToBase(form, price).value;
      sum += z / kRows;
      squares += z * z / kRows;
    }
    EXPECT_NEAR(sum, 0, 1e-9) << scaling;
    EXPECT_NEAR(squares, 1, 1e-9) << scaling;
  }
}

TEST(FitPreprocessing, RobustDoesNotSeeOutliers) {
  std::vector<double> column = Column([](double z) { return 5 + 2 * z; });
  const ColumnPreprocessing clean = Fitted("scaling: ROBUST", column);
  EXPECT_NEAR(clean.center(), 5, 0.1);
  EXPECT_NEAR(clean.scale(), 2, 0.1);
  for (size_t i = 0; i < column.size(); i += 50) column[i] = 1e6;
  const ColumnPreprocessing spoilt = Fitted("scaling: ROBUST", column);
  EXPECT_NEAR(spoilt.center(), 5, 0.2);
  EXPECT_NEAR(spoilt.scale(), 2, 0.2);
}

TEST(FitPreprocessing, FindsThePowerThatMadeTheData) {
  for (double power : {0.0, 0.3, 1.0, 1.6, 2.0}) {
    ColumnForm form;
    form.shape = ColumnForm::Shape::kYeoJohnson;
    form.power = power;
    const auto column = Column([&](double z) { return MapToData(form, 0.7 + 0.6 * z).value; });
    EXPECT_NEAR(Fitted("scaling: YEO_JOHNSON", column).power(), power, 0.1);
  }
}

// A longer column is thinned out; up to this size none of its rows is left out.
TEST(FitPreprocessing, ThePowerDoesNotDependOnTheOrderOf32768Rows) {
  constexpr size_t kAll = 32768;
  // Rows of even number and of odd number would have powers of their own.
  std::vector<double> column = Column([](double z) { return z; }, kAll);
  for (size_t i = 0; i < kAll; i += 2) column[i] = std::exp(1 + column[i]);
  const double power = Fitted("scaling: YEO_JOHNSON", column).power();
  for (size_t i = 0; i < kAll; i += 2) std::swap(column[i], column[i + 1]);
  EXPECT_NEAR(Fitted("scaling: YEO_JOHNSON", column).power(), power, 2e-4);
}

TEST(FitPreprocessing, ALongColumnHasThePowerOfItsRows) {
  const auto column = Column([](double z) { return std::expm1(0.7 + 0.6 * z); }, 100000);
  EXPECT_NEAR(Fitted("scaling: YEO_JOHNSON", column).power(), 0, 0.1);
}

TEST(FitPreprocessing, IntegersAreFittedWithTheirNoise) {
  // Uniform on {0, 1}, with noise uniform on [0, 2]: deviation 2 / sqrt(12).
  std::vector<double> bits(kRows);
  for (size_t i = 0; i < kRows; ++i) bits[i] = static_cast<double>(i * 7919 % 13 % 2);
  const ColumnPreprocessing column = Fitted("kind: INTEGER scaling: STANDARD", bits);
  EXPECT_NEAR(column.center(), 1, 0.1);
  EXPECT_NEAR(column.scale(), 2 / std::sqrt(12), 0.02);
}

TEST(FitPreprocessing, CategoriesAreThoseOfTheTrainSplit) {
  EXPECT_THAT(Fitted("kind: CATEGORICAL", {3, -1, 3, 7, 7, 3}).categories(), ElementsAre(-1, 3, 7));
}

TEST(FitPreprocessing, CategoriesOfHeldOutRowsAreKnownToo) {
  EXPECT_THAT(Fitted("kind: CATEGORICAL", {3, -1, 3}, {7, 3, 9}).categories(), ElementsAre(-1, 3, 7, 9));
}

TEST(FitPreprocessing, CategoriesOfHeldOutRowsAreUnknownWhereThereIsAPlaceForThose) {
  Preprocessing context;
  ASSERT_TRUE(
      google::protobuf::TextFormat::ParseFromString("columns { kind: CATEGORICAL accept_unknown: true }", &context));
  const std::vector<double> train = {3, -1, 3};
  const std::vector<double> held_out = {7, 3};
  ASSERT_TRUE(FitPreprocessing(Rows(train), Rows(held_out), ColumnRole::kContext, "p", context).ok());
  EXPECT_THAT(context.columns(0).categories(), ElementsAre(-1, 3));
}

TEST(FitPreprocessing, CirclesKeepTheirEndsOrAreInRadians) {
  const ColumnPreprocessing degrees = Fitted("kind: CIRCULAR low: 0 high: 360", {10, 200, 359});
  EXPECT_EQ(degrees.low(), 0);
  EXPECT_EQ(degrees.high(), 360);
  const ColumnPreprocessing radians = Fitted("kind: CIRCULAR", {-1, 2, 3});
  EXPECT_TRUE(radians.has_low() && radians.has_high());
  EXPECT_EQ(radians.low(), -std::numbers::pi);
  EXPECT_EQ(radians.high(), std::numbers::pi);
}

TEST(FitPreprocessing, WhatIsGivenStays) {
  const auto column = Column([](double z) { return z; });
  const ColumnPreprocessing fitted = Fitted("scaling: STANDARD center: 3", column);
  EXPECT_EQ(fitted.center(), 3);
  EXPECT_NEAR(fitted.scale(), 1, 0.05);
}

struct Choice {
  std::string name;
  std::vector<double> column;
  ColumnPreprocessing::Kind kind;
  ColumnPreprocessing::Scaling scaling;
  std::string reason;
};

class AutomaticTest : public testing::TestWithParam<Choice> {};

TEST_P(AutomaticTest, ChoosesAndSaysWhy) {
  const ColumnPreprocessing column = Fitted("", GetParam().column);
  EXPECT_EQ(column.kind(), GetParam().kind);
  EXPECT_EQ(column.scaling(), GetParam().scaling) << column.reason();
  EXPECT_THAT(column.reason(), HasSubstr(GetParam().reason));
}

double Sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

std::vector<double> WithOutliers() {
  std::vector<double> column = Column([](double z) { return z; });
  for (size_t i = 0; i < column.size(); i += 40) column[i] *= 60;
  return column;
}

INSTANTIATE_TEST_SUITE_P(
    Columns, AutomaticTest,
    testing::Values(
        Choice{"Normal", Column([](double z) { return 70 + 3 * z; }), ColumnPreprocessing::CONTINUOUS,
               ColumnPreprocessing::STANDARD, "no other map"},
        Choice{"Positive", Column([](double z) { return std::exp(z); }), ColumnPreprocessing::CONTINUOUS,
               ColumnPreprocessing::LOG, "no number is below 0"},
        Choice{"Share", Column([](double z) { return Sigmoid(2 * z); }), ColumnPreprocessing::CONTINUOUS,
               ColumnPreprocessing::LOGIT, "within (0, 1)"},
        Choice{"SkewedOfBothSigns", Column([](double z) { return std::exp(z) - 0.5; }), ColumnPreprocessing::CONTINUOUS,
               ColumnPreprocessing::YEO_JOHNSON, "skewed"},
        Choice{"Outliers", WithOutliers(), ColumnPreprocessing::CONTINUOUS, ColumnPreprocessing::ROBUST, "outliers"},
        Choice{"Counts", Column([](double z) { return std::floor(std::exp(3 + z)); }), ColumnPreprocessing::INTEGER,
               ColumnPreprocessing::LOG, "every number is whole; no number is below 0"},
        Choice{"Years", Column([](double z) { return std::floor(1990 + 10 * z); }), ColumnPreprocessing::INTEGER,
               ColumnPreprocessing::STANDARD, "every number is whole"},
        Choice{"Flags", Column([](double z) { return z > 0.5 ? 1.0 : 0.0; }), ColumnPreprocessing::INTEGER,
               ColumnPreprocessing::LOGIT, "only 0 and 1 occur"}),
    [](const auto& info) { return info.param.name; });

TEST(FitPreprocessing, TheChoiceDoesNotDependOnWhichRowIsFirst) {
  auto counts = Column([](double z) { return std::floor(std::exp(3 + z)); });
  counts[0] = 0;
  EXPECT_EQ(Fitted("", counts).scaling(), ColumnPreprocessing::LOG);
}

TEST(FitPreprocessing, AutomaticTakesTheEndsThatAreGiven) {
  const auto column = Column([](double z) { return 50 + 5 * z; });
  EXPECT_EQ(Fitted("low: 0", column).scaling(), ColumnPreprocessing::LOG);
  EXPECT_EQ(Fitted("low: 0 high: 100", column).scaling(), ColumnPreprocessing::LOGIT);
}

TEST(FitPreprocessing, WholeNumbersAreIntegersUnlessAnEndIsNone) {
  const auto counts = Column([](double z) { return std::floor(50 + 5 * z); });
  EXPECT_EQ(Fitted("low: 0", counts).kind(), ColumnPreprocessing::INTEGER);
  EXPECT_EQ(Fitted("low: 0.5", counts).kind(), ColumnPreprocessing::CONTINUOUS);
  EXPECT_EQ(Fitted("low: 0 high: 100", counts).kind(), ColumnPreprocessing::INTEGER);
  EXPECT_EQ(Fitted("low: 0 high: 99.5", counts).kind(), ColumnPreprocessing::CONTINUOUS);
  // Who chooses the scaling says that the column is one of numbers.
  EXPECT_EQ(Fitted("scaling: STANDARD", counts).kind(), ColumnPreprocessing::CONTINUOUS);
}

TEST(FitPreprocessing, OfTwoNeighbouringIntegersTheSupportIsThatPair) {
  const ColumnPreprocessing pair = Fitted("", Column([](double z) { return z > 0.5 ? 8.0 : 7.0; }));
  EXPECT_EQ(pair.scaling(), ColumnPreprocessing::LOGIT);
  EXPECT_EQ(pair.low(), 7);
  EXPECT_EQ(pair.high(), 8);
  // A third number is met among the held-out rows.
  const auto bits = Column([](double z) { return z > 0.5 ? 1.0 : 0.0; });
  EXPECT_NE(Fitted("", bits, {0, 2}).scaling(), ColumnPreprocessing::LOGIT);
  // The two that add up to one are no neighbours.
  EXPECT_NE(Fitted("", Column([](double z) { return z > 0.5 ? 2.0 : -1.0; })).scaling(), ColumnPreprocessing::LOGIT);
}

TEST(FitPreprocessing, AutomaticChoosesNoLogarithmOfColumnsThatTouchZero) {
  auto column = Column([](double z) { return std::exp(z); });
  column[5] = 0;
  EXPECT_EQ(Fitted("", column).scaling(), ColumnPreprocessing::YEO_JOHNSON);
  auto share = Column([](double z) { return 1 / (1 + std::exp(-2 * z)); });
  share[5] = 1;
  EXPECT_NE(Fitted("", share).scaling(), ColumnPreprocessing::LOGIT);
}

TEST(FitPreprocessing, AutomaticChoosesNoSupportThatHeldOutRowsLeave) {
  const auto positive = Column([](double z) { return std::exp(z); });
  EXPECT_EQ(Fitted("", positive, {1, 2}).scaling(), ColumnPreprocessing::LOG);
  EXPECT_EQ(Fitted("", positive, {1, -0.01}).scaling(), ColumnPreprocessing::YEO_JOHNSON);
}

TEST(FitPreprocessing, OfManyRowsSomeAreFittedToAndAllAreLookedAt) {
  constexpr size_t kMany = (size_t{1} << 21) + 5;
  std::vector<double> column = Column([](double z) { return std::exp(z); }, kMany);
  const ColumnPreprocessing fitted = Fitted("", column);
  EXPECT_EQ(fitted.scaling(), ColumnPreprocessing::LOG);
  EXPECT_NEAR(fitted.center(), 0, 5e-3);
  EXPECT_NEAR(fitted.scale(), 1, 5e-3);
  for (const size_t row : {size_t{0}, size_t{1}, kMany - 1}) {
    const double kept = std::exchange(column[row], -1);
    EXPECT_NE(Fitted("", column).scaling(), ColumnPreprocessing::LOG) << row;
    column[row] = kept;
  }
}

TEST(FitPreprocessing, RefusesColumnsWithoutAScale) {
  EXPECT_THAT(Refusal("scaling: STANDARD", {2, 2, 2}), AllOf(StartsWith("p.columns[0]"), HasSubstr("constant")));
  EXPECT_THAT(Refusal("kind: CONTINUOUS scaling: ROBUST", {0, 0, 0, 0, 0, 0, 0, 9}), HasSubstr("middle half"));
  EXPECT_THAT(Refusal("kind: CATEGORICAL", {2, 2}), HasSubstr("one value"));
}

TEST(FitPreprocessing, RowsOutsideASupportAreToldWithTheirNumber) {
  const auto refusal = [](const std::string& column, double x) {
    const absl::Status status = CheckWithinSupport(Rows({x}), ColumnRole::kFeatures, "p", Parse(column));
    return std::string(status.message());
  };
  EXPECT_THAT(refusal("scaling: LOG low: 0", -2.5),
              AllOf(HasSubstr("p.columns[0]"), HasSubstr("-2.5"), HasSubstr("0")));
  EXPECT_THAT(refusal("scaling: LOGIT low: 0 high: 1", 1), HasSubstr("within (0, 1)"));
  EXPECT_THAT(refusal("kind: INTEGER scaling: LOGIT low: 0 high: 5", 6), HasSubstr("0 … 5"));
  EXPECT_THAT(refusal("kind: CATEGORICAL categories: [1, 2]", 3), HasSubstr("2 categories"));
  EXPECT_THAT(refusal("kind: CIRCULAR low: 0 high: 360", 361), HasSubstr("[0, 360]"));
  EXPECT_EQ(refusal("scaling: STANDARD", -1e9), "");
  // An angle of a table of float32.
  EXPECT_EQ(refusal("kind: CIRCULAR", static_cast<float>(std::numbers::pi)), "");
}

TEST(FitPreprocessing, NamedEntriesFindTheirColumns) {
  Preprocessing preprocessing;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      "columns { name: 'c' scaling: LOG } columns { name: 'a' kind: INTEGER }", &preprocessing));
  const std::vector<std::string> names = {"a", "b", "c"};
  ASSERT_TRUE(PlaceNamedColumns(names, "p", preprocessing).ok());
  ASSERT_EQ(preprocessing.columns_size(), 3);
  EXPECT_EQ(preprocessing.columns(0).kind(), ColumnPreprocessing::INTEGER);
  EXPECT_EQ(preprocessing.columns(1).name(), "b");
  EXPECT_EQ(preprocessing.columns(1).scaling(), ColumnPreprocessing::SCALING_UNSPECIFIED);
  EXPECT_EQ(preprocessing.columns(2).scaling(), ColumnPreprocessing::LOG);
}

TEST(FitPreprocessing, NamesThatAreWrongAreTold) {
  const std::vector<std::string> names = {"a", "b"};
  const auto refusal = [&](const std::string& text) {
    Preprocessing preprocessing;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &preprocessing));
    return std::string(PlaceNamedColumns(names, "p", preprocessing).message());
  };
  EXPECT_THAT(refusal("columns { name: 'x' }"), AllOf(StartsWith("p.columns[0].name"), HasSubstr("a, b")));
  EXPECT_THAT(refusal("columns { name: 'a' } columns { name: 'a' }"), HasSubstr("twice"));
  EXPECT_THAT(refusal("columns { name: 'a' } columns {}"), StartsWith("p.columns[1].name"));
}

}  // namespace
}  // namespace densityd::flow
