// The LibTorch transform of preprocessed columns agrees with the map of single numbers; integers and categories.
#include "server/flow/column_preprocessing.h"

#include <cmath>
#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "server/flow/column_map.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A column of every form.
const std::string kColumns =
    "columns { kind: CONTINUOUS scaling: STANDARD center: 3 scale: 2 }"
    "columns { kind: CONTINUOUS scaling: LOG low: -1 center: 0.3 scale: 0.7 }"
    "columns { kind: CONTINUOUS scaling: LOGIT low: -4 high: 4 scale: 1.5 }"
    "columns { kind: CONTINUOUS scaling: YEO_JOHNSON power: 0.6 center: 0.1 scale: 1.2 }"
    "columns { kind: INTEGER scaling: STANDARD center: 0.5 scale: 3 }"
    "columns { kind: INTEGER scaling: LOG low: -2 scale: 2 }"
    "columns { kind: INTEGER scaling: LOGIT low: -2 high: 3 center: 0.2 }"
    "columns { kind: CATEGORICAL scaling: LOGIT categories: [5, -1, 0.1, 7] scale: 2 }"
    "columns { kind: CIRCULAR low: -180 high: 180 scaling: NONE }";
constexpr int64_t kCount = 9;

density::v1::Preprocessing Columns(const std::string& columns = kColumns) {
  return ParseSpec("layers { preprocessing { " + columns + " } }").layers(0).preprocessing();
}

// Rows within and without the supports.
Tensor Data() {
  Tensor x = 2 * Normal({200, kCount}, 3);
  for (int64_t column : {4, 5, 6}) x.select(1, column).round_();
  const double codes[] = {5, -1, 0.1, 7, 6};
  for (int64_t row = 0; row < x.size(0); ++row) x[row][7] = codes[row % 5];
  x.select(1, 8).mul_(40);
  return x;
}

TEST(PreprocessingTransform, IsTheMapOfEachNumber) {
  const auto spec = Columns();
  Preprocessing transform(spec);
  transform.eval();
  const Tensor x = Data();
  const Mapped z = transform.Inverse(x, Tensor());
  const Mapped back = transform.Forward(z.value, Tensor());
  for (int64_t row = 0; row < x.size(0); ++row) {
    double log_abs_det = 0;
    double log_abs_det_back = 0;
    for (int64_t j = 0; j < kCount; ++j) {
      const ColumnForm form = FormOf(spec.columns(static_cast<int>(j)));
      const MappedNumber expected = MapToBase(form, x[row][j].item<double>());
      const MappedNumber expected_back = MapToData(form, z.value[row][j].item<double>());
      // Outside its support a number's z is anything finite.
      if (std::isfinite(expected.log_slope)) {
        EXPECT_NEAR(z.value[row][j].item<double>(), expected.value, 1e-12) << j;
      }
      EXPECT_TRUE(std::isfinite(z.value[row][j].item<double>()));
      EXPECT_NEAR(back.value[row][j].item<double>(), expected_back.value, 1e-11) << j;
      log_abs_det += expected.log_slope;
      log_abs_det_back += expected_back.log_slope;
    }
    const double actual = z.log_abs_det[row].item<double>();
    EXPECT_TRUE(actual == log_abs_det || std::abs(actual - log_abs_det) < 1e-10) << actual << " " << log_abs_det;
    EXPECT_NEAR(back.log_abs_det[row].item<double>(), log_abs_det_back, 1e-10);
  }
}

TEST(PreprocessingTransform, SamplesAreOfTheColumnsKindAndWithinItsSupport) {
  const auto spec = Columns();
  Preprocessing transform(spec);
  transform.eval();
  for (double spread : {1.0, 30.0, 1e5}) {
    // The last column's flow stays on the circle.
    Tensor z = spread * Normal({100, kCount}, 4);
    z.select(1, 8).clamp_(-3.14159265, 3.14159265);
    transform.to(torch::kFloat64);
    const Tensor x = transform.Forward(z, Tensor()).value;
    for (int64_t row = 0; row < x.size(0); ++row) {
      for (int64_t j = 1; j < kCount; ++j) {
        const double number = x[row][j].item<double>();
        const ColumnForm form = FormOf(spec.columns(static_cast<int>(j)));
        if (form.is_whole) {
          EXPECT_EQ(number, std::floor(number));
        }
        if (form.shape == ColumnForm::Shape::kYeoJohnson || form.shape == ColumnForm::Shape::kLinear) continue;
        EXPECT_GT(MapToBase(form, static_cast<float>(number)).log_slope, -kInfinity) << j << " " << number;
      }
    }
  }
}

TEST(PreprocessingTransform, BothEndsOfACircleAreOnIt) {
  Preprocessing transform(Columns("columns { kind: CIRCULAR low: 0 high: 360 scaling: NONE }"));
  transform.eval();
  const Tensor x = torch::tensor({{0.0}, {90.0}, {360.0}, {-0.001}, {360.001}}, torch::kFloat64);
  const Tensor slope = transform.Inverse(x, Tensor()).log_abs_det;
  for (int64_t row : {0, 2}) EXPECT_EQ(slope[row].item<double>(), slope[1].item<double>()) << row;
  for (int64_t row : {3, 4}) EXPECT_EQ(slope[row].item<double>(), -kInfinity) << row;
}

TEST(PreprocessingTransform, PiOfFloat32IsTheEndOfTheCircle) {
  for (const torch::Dtype dtype : {torch::kFloat64, torch::kFloat32}) {
    Preprocessing transform(Columns("columns { kind: CIRCULAR scaling: NONE }"));
    transform.eval();
    transform.to(dtype);
    const auto pi = static_cast<float>(M_PI);
    const Tensor x = torch::tensor({pi, -pi, std::nextafterf(pi, 4), NAN}, torch::kFloat32).unsqueeze(1).to(dtype);
    const Mapped z = transform.Inverse(x, Tensor());
    EXPECT_EQ(z.value[0].item<double>(), torch::tensor(M_PI, dtype).item<double>());
    EXPECT_EQ(z.value[1].item<double>(), torch::tensor(-M_PI, dtype).item<double>());
    EXPECT_TRUE(z.log_abs_det.slice(0, 0, 2).isfinite().all().item<bool>());
    EXPECT_EQ(z.log_abs_det[2].item<double>(), -kInfinity);
    EXPECT_TRUE(z.value[3].isnan().all().item<bool>());
  }
}

TEST(PreprocessingTransform, WhatIsNoNumberStaysNone) {
  Preprocessing transform(Columns());
  transform.eval();
  const Mapped x = transform.Forward(torch::full({1, kCount}, std::nan(""), torch::kFloat64), Tensor());
  EXPECT_TRUE(x.value.isnan().all().item<bool>()) << x.value;
}

TEST(PreprocessingTransform, TrainingNoiseFillsTheCellAndEvaluationHasNone) {
  Preprocessing transform(
      Columns("columns { kind: INTEGER scaling: NONE } columns { kind: CONTINUOUS scaling: NONE }"));
  const Tensor x = torch::full({10000, 2}, 3, torch::kFloat64);
  at::manual_seed(1);
  const Tensor noisy = transform.Inverse(x, Tensor()).value;
  EXPECT_GE(noisy.select(1, 0).min().item<double>(), 3);
  EXPECT_LT(noisy.select(1, 0).max().item<double>(), 4);
  EXPECT_NEAR(noisy.select(1, 0).mean().item<double>(), 3.5, 0.01);
  EXPECT_NEAR(noisy.select(1, 0).std().item<double>(), std::sqrt(1.0 / 12), 0.01);
  EXPECT_TRUE((noisy.select(1, 1) == 3).all().item<bool>());
  transform.eval();
  EXPECT_TRUE((transform.Inverse(x, Tensor()).value.select(1, 0) == 3.5).all().item<bool>());
}

// The density in the middle of a cell is close to the cell's probability: over all integers the error is tiny, in one
// cell of a normal of deviation s at most 1 / (24 s^2) of the peak.
TEST(PreprocessingTransform, DensitiesOfIntegersAddUpToOne) {
  for (double scale : {1.0, 3.0}) {
    const auto flow =
        Build(ParseSpec("features: 1 layers { preprocessing { columns { kind: INTEGER scaling: STANDARD "
                        "center: 0.3 scale: " +
                        std::to_string(scale) + " } } } layers { actnorm {} }"));
    flow->eval();
    const Tensor x = torch::arange(-60, 61, torch::kFloat64).unsqueeze(1);
    const Tensor p = flow->LogProb(x, Tensor()).exp();
    EXPECT_NEAR(p.sum().item<double>(), 1, 1e-6);
    const Tensor z = torch::stack({x.squeeze(1), x.squeeze(1) + 1});
    const Tensor cdf = torch::erfc((0.3 - z) / (scale * std::sqrt(2.0))) / 2;
    EXPECT_LE(MaxAbs(p - (cdf[1] - cdf[0])), 1.05 / (24 * scale * scale) / (scale * std::sqrt(2 * M_PI)));
  }
}

TEST(PreprocessingTransform, ARowOutsideTheSupportHarmsNoNeighbourAndNoGradient) {
  const auto flow =
      Build(ParseSpec("features: 4 layers { preprocessing {"
                      "columns { kind: CONTINUOUS scaling: LOG center: 0 scale: 1 }"
                      "columns { kind: CONTINUOUS scaling: LOGIT low: 0 high: 1 center: 0 scale: 1 }"
                      "columns { kind: CATEGORICAL categories: [1, 2] center: 0 scale: 1 }"
                      "columns { kind: INTEGER scaling: LOG low: 0 center: 0 scale: 1 } } } layers { actnorm {} }"));
  flow->eval();
  const Tensor x = torch::tensor({{1.0, 0.5, 2.0, 3.0},
                                  {0.0, 0.5, 2.0, 3.0},
                                  {1.0, 1.0, 2.0, 3.0},
                                  {1.0, 0.5, 3.0, 3.0},
                                  {1.0, 0.5, 2.0, -1.0}},
                                 torch::kFloat64)
                       .requires_grad_();
  const Tensor log_prob = flow->LogProb(x, Tensor());
  EXPECT_TRUE(log_prob[0].isfinite().item<bool>());
  for (int64_t row = 1; row < 5; ++row) EXPECT_EQ(log_prob[row].item<double>(), -kInfinity) << row;
  std::vector<Tensor> inputs = flow->parameters();
  inputs.push_back(x);
  for (const Tensor& gradient : torch::autograd::grad({log_prob.sum()}, inputs)) {
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << gradient;
  }
}

}  // namespace
}  // namespace densityd::flow
