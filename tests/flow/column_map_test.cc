// Each form of a preprocessed column: it undoes itself, its slope is its derivative, and samples stay in the support.
#include "server/flow/column_map.h"

#include <cmath>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "density/v1/flow_spec.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace densityd::flow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

density::v1::ColumnPreprocessing Parse(const std::string& text) {
  density::v1::ColumnPreprocessing column;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &column)) << text;
  return column;
}

struct Case {
  std::string name;
  std::string column;
  std::vector<double> inside;
  std::vector<double> outside;
};

void PrintTo(const Case& test_case, std::ostream* out) { *out << test_case.name; }

class ContinuousColumnTest : public testing::TestWithParam<Case> {
 protected:
  const ColumnForm form_ = FormOf(Parse(GetParam().column));
};

TEST_P(ContinuousColumnTest, TheTwoDirectionsUndoEachOther) {
  for (double x : GetParam().inside) {
    const MappedNumber z = MapToBase(form_, x);
    const MappedNumber back = MapToData(form_, z.value);
    EXPECT_NEAR(back.value, x, 1e-12 * (1 + std::abs(x))) << x;
    EXPECT_NEAR(back.log_slope, -z.log_slope, 1e-10) << x;
  }
}

TEST_P(ContinuousColumnTest, TheSlopeIsTheDerivative) {
  for (double x : GetParam().inside) {
    const double step = 1e-6 * std::min(1 + std::abs(x), x == 0 ? 1 : std::abs(x));
    const double slope = (MapToBase(form_, x + step).value - MapToBase(form_, x - step).value) / (2 * step);
    EXPECT_NEAR(std::log(slope), MapToBase(form_, x).log_slope, 1e-5) << x;
  }
}

TEST_P(ContinuousColumnTest, OutsideTheSupportTheDensityIsZeroAndZIsFinite) {
  for (double x : GetParam().outside) {
    EXPECT_EQ(MapToBase(form_, x).log_slope, -kInfinity) << x;
    EXPECT_EQ(MapToBase(form_, x).value, 0) << x;
  }
}

TEST_P(ContinuousColumnTest, NoZLeavesTheSupportNotEvenAsFloat32) {
  for (double z : {-1e300, -1e6, -800.0, -100.0, -30.0, -3.0, 0.0, 3.0, 30.0, 100.0, 800.0, 1e6, 1e300}) {
    if (form_.shape == ColumnForm::Shape::kLinear || form_.shape == ColumnForm::Shape::kYeoJohnson) continue;
    const double x = MapToData(form_, z).value;
    EXPECT_TRUE(std::isfinite(MapToBase(form_, x).log_slope)) << z << " gives " << x;
    EXPECT_TRUE(std::isfinite(MapToBase(form_, static_cast<float>(x)).log_slope)) << z << " gives " << x;
  }
}

const Case kContinuous[] = {
    {"None", "kind: CONTINUOUS scaling: NONE", {-3, 0, 1e6}, {}},
    {"Standard", "scaling: STANDARD center: 3 scale: 0.25", {-3, 0.5, 1e4}, {}},
    {"Robust", "scaling: ROBUST center: -1 scale: 7", {-3, 0.5, 1e4}, {}},
    {"Log", "scaling: LOG low: 0 center: 1 scale: 2", {1e-12, 0.3, 1, 5e6}, {0, -1e-30, -4}},
    {"LogAbove", "scaling: LOG low: -100 center: 4 scale: 0.5", {-99, 0, 1e3}, {-100, -101}},
    {"YeoJohnsonOfZero", "scaling: YEO_JOHNSON power: 0 center: 1 scale: 2", {-30, -0.1, 0.1, 900}, {}},
    {"YeoJohnsonOfOne", "scaling: YEO_JOHNSON power: 1 center: 1 scale: 2", {-30, -0.1, 0.1, 900}, {}},
    {"YeoJohnsonOfTwo", "scaling: YEO_JOHNSON power: 2 center: 1 scale: 2", {-30, -0.1, 0.1, 900}, {}},
    {"YeoJohnson", "scaling: YEO_JOHNSON power: 0.4 center: 1 scale: 2", {-30, -0.1, 0.1, 900}, {}},
    {"Logit", "scaling: LOGIT low: 0 high: 100 center: 0.2 scale: 1.5", {1e-9, 3, 50, 99.9}, {0, 100, -1, 101}},
    {"Circle", "kind: CIRCULAR low: 0 high: 360", {0.5, 90, 359}, {-1e-9, 360.001}},
    {"Radians", "kind: CIRCULAR", {-3.1, 0, 3.1}, {-3.15, 3.15}},
};

INSTANTIATE_TEST_SUITE_P(Columns, ContinuousColumnTest, testing::ValuesIn(kContinuous),
                         [](const auto& info) { return info.param.name; });

TEST(ColumnMap, BothEndsOfACircleAreOnIt) {
  const ColumnForm form = FormOf(Parse("kind: CIRCULAR low: 0 high: 360"));
  EXPECT_EQ(MapToBase(form, 0).log_slope, MapToBase(form, 90).log_slope);
  EXPECT_EQ(MapToBase(form, 360).log_slope, MapToBase(form, 90).log_slope);
}

// As float32 pi is larger than it is.
TEST(ColumnMap, PiOfFloat32IsTheEndOfTheCircle) {
  const ColumnForm form = FormOf(Parse("kind: CIRCULAR"));
  const auto pi = static_cast<float>(M_PI);
  ASSERT_GT(pi, M_PI);
  for (double sign : {-1.0, 1.0}) {
    EXPECT_EQ(MapToBase(form, sign * pi).value, sign * M_PI);
    EXPECT_EQ(MapToBase(form, sign * pi).log_slope, MapToBase(form, 1).log_slope);
    EXPECT_EQ(MapToBase(form, sign * std::nextafterf(pi, 4)).log_slope, -kInfinity);
  }
}

TEST(ColumnMap, AnIntervalWithoutAFloat32IsKeptInFloat64) {
  const ColumnForm form = FormOf(Parse("scaling: LOGIT low: 1e9 high: 1000000001"));
  for (double z : {-1e300, -50.0, 0.0, 50.0, 1e300}) {
    EXPECT_TRUE(std::isfinite(MapToBase(form, MapToData(form, z).value).log_slope)) << z;
  }
}

TEST(ColumnMap, IntegersComeBackAsTheyWere) {
  for (const std::string scaling : {"STANDARD center: 3 scale: 4", "LOG low: -2", "LOGIT low: -2 high: 9",
                                    "YEO_JOHNSON power: 0.3", "ROBUST scale: 0.01", "NONE"}) {
    const ColumnForm form = FormOf(Parse("kind: INTEGER scaling: " + scaling));
    for (int x = -2; x <= 9; ++x) {
      const MappedNumber z = MapToBase(form, x);
      EXPECT_TRUE(std::isfinite(z.log_slope)) << scaling << " " << x;
      EXPECT_EQ(MapToData(form, z.value).value, x) << scaling;
    }
  }
}

TEST(ColumnMap, IntegersStayWithinTheirBounds) {
  const ColumnForm form = FormOf(Parse("kind: INTEGER scaling: LOGIT low: -2 high: 9"));
  EXPECT_EQ(MapToBase(form, -3).log_slope, -kInfinity);
  EXPECT_EQ(MapToBase(form, 10).log_slope, -kInfinity);
  for (double z : {-1e9, -40.0, -5.0}) EXPECT_EQ(MapToData(form, z).value, -2) << z;
  for (double z : {1e9, 40.0, 5.0}) EXPECT_EQ(MapToData(form, z).value, 9) << z;
}

TEST(ColumnMap, ADensityBetweenIntegersIsThatOfTheCell) {
  const ColumnForm form = FormOf(Parse("kind: INTEGER scaling: STANDARD center: 0 scale: 2"));
  EXPECT_EQ(MapToBase(form, 3).value, 1.75);
  EXPECT_EQ(MapToBase(form, 3.25).value, 1.875);
}

TEST(ColumnMap, CategoriesAreTheirIndicesInTheOrderGiven) {
  const ColumnForm form = FormOf(Parse("kind: CATEGORICAL categories: [7, -1, 0.1]"));
  EXPECT_EQ(Dequantize(form, 7), 0.5);
  EXPECT_EQ(Dequantize(form, -1), 1.5);
  // 0.1 that went through float32 is not 0.1.
  EXPECT_EQ(Dequantize(form, 0.1F), 2.5);
  EXPECT_EQ(MapToBase(form, 8).log_slope, -kInfinity);
  EXPECT_EQ(MapToBase(form, 8).value, 0);
  for (double code : {7.0, -1.0, 0.1}) EXPECT_EQ(MapToData(form, MapToBase(form, code).value).value, code);
  EXPECT_EQ(MapToData(form, 1e300).value, 0.1);
  EXPECT_EQ(MapToData(form, -1e300).value, 7);
  // What a flow makes of numbers beyond its range is no category.
  EXPECT_TRUE(std::isnan(MapToData(form, std::numeric_limits<double>::quiet_NaN()).value));
}

TEST(ColumnMap, SaysWhereXCanBe) {
  const auto ends = [](const std::string& column) { return ImageOf(FormOf(Parse(column)), -kInfinity, kInfinity); };
  EXPECT_EQ(ends("scaling: STANDARD scale: 2"), std::pair(-kInfinity, kInfinity));
  EXPECT_EQ(ends("scaling: YEO_JOHNSON power: 0.5"), std::pair(-kInfinity, kInfinity));
  EXPECT_EQ(ends("scaling: LOG low: 3"), std::pair(3.0, kInfinity));
  EXPECT_EQ(ends("scaling: LOGIT low: 3 high: 4"), std::pair(3.0, 4.0));
  EXPECT_EQ(ends("kind: INTEGER scaling: LOGIT low: 3 high: 4"), std::pair(2.5, 4.5));
  EXPECT_EQ(ends("kind: CATEGORICAL categories: [3, 9, 5]"), std::pair(3.0, 9.0));
}

}  // namespace
}  // namespace densityd::flow
