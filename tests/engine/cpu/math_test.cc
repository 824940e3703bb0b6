// Elementary functions of the kernels against libm in float64, in units in the last place.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/cpu/builder.h"
#include "server/engine/cpu/kernels.h"

namespace densityd::engine::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Runs one map or activation over numbers, 64 at a time.
class Function {
 public:
  /// Parameters are zero.
  explicit Function(MapKind kind, float constant = 0, size_t parameters = 0) {
    PackedWeights none;
    ProgramBuilder builder(Layout::kTile, none);
    MapEntry entry;
    entry.in = entry.out = builder.Allocate(1);
    entry.parameters = builder.Allocate(parameters);
    MapStep step;
    step.kind = kind;
    step.constant = constant;
    step.parameters = static_cast<uint32_t>(parameters);
    builder.Map(step, {entry});
    program_ = builder.Take();
  }
  explicit Function(ActivationKind kind) {
    PackedWeights none;
    ProgramBuilder builder(Layout::kTile, none);
    const Column column = builder.Allocate(1);
    builder.Activate(column, column, 1, kind);
    program_ = builder.Take();
  }

  std::vector<float> operator()(const std::vector<float>& x, std::vector<float>* log = nullptr) const {
    Arena table((program_.columns + 1) * kTileRows);
    std::vector<float> y;
    for (size_t begin = 0; begin < x.size(); begin += kTileRows) {
      const size_t rows = std::min(kTileRows, x.size() - begin);
      std::fill_n(table.data(), kTileRows, 0.0f);
      std::copy_n(x.begin() + begin, rows, table.data() + kTileRows);
      RunTile(program_, {}, {table.data() + kTileRows, table.data(), kTileRows});
      y.insert(y.end(), table.data() + kTileRows, table.data() + kTileRows + rows);
      if (log != nullptr) log->insert(log->end(), table.data(), table.data() + rows);
    }
    return y;
  }

  float operator()(float x) const { return (*this)(std::vector<float>{x}).front(); }

 private:
  Program program_;
};

/// Distance of `number` from `truth` in units of the last place of float32 at `truth`.
double Ulps(float number, double truth) {
  const float rounded = static_cast<float>(truth);
  const double ulp = std::nextafter(std::abs(rounded), kInfinity) - std::abs(rounded);
  return std::abs(number - truth) / ulp;
}

/// Numbers of every magnitude within [low, high], and evenly spaced ones.
std::vector<float> Numbers(float low, float high) {
  std::vector<float> numbers;
  for (int i = 0; i <= 40000; ++i) numbers.push_back(low + (high - low) * static_cast<float>(i) / 40000);
  for (float magnitude = 1e-30f; magnitude < 1e30f; magnitude *= 1.01f) {
    for (float number : {magnitude, -magnitude}) {
      if (number >= low && number <= high) numbers.push_back(number);
    }
  }
  return numbers;
}

/// Largest error of `function` within [low, high].
double WorstUlps(const Function& function, double (*truth)(double), float low, float high) {
  const std::vector<float> x = Numbers(low, high);
  const std::vector<float> y = function(x);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, Ulps(y[i], truth(x[i])));
  return worst;
}

/// Every target that this processor has, the portable one included.
class MathTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    if ((hwy::SupportedTargets() & GetParam()) == 0) GTEST_SKIP() << "this processor has no such target";
    hwy::GetChosenTarget().Update(GetParam());
  }
  void TearDown() override { hwy::GetChosenTarget().Update(hwy::SupportedTargets()); }
};

TEST_P(MathTest, ExpIsWithin2Ulp) { EXPECT_LE(WorstUlps(Function(MapKind::kExp), std::exp, -87, 88.7f), 2); }

TEST_P(MathTest, ExpEndsInZeroAndInfinity) {
  const Function exp(MapKind::kExp);
  EXPECT_EQ(exp(-200), 0);
  EXPECT_EQ(exp(-kInfinity), 0);
  EXPECT_EQ(exp(89), kInfinity);
  EXPECT_EQ(exp(kInfinity), kInfinity);
  EXPECT_GT(exp(-100), 0);  // gradual underflow
}

TEST_P(MathTest, LogIsWithin2Ulp) {
  EXPECT_LE(WorstUlps(Function(MapKind::kLog), std::log, 1e-30f, 1e30f), 2);
  EXPECT_LE(WorstUlps(Function(MapKind::kLog), std::log, 0.5f, 2), 2);
}

TEST_P(MathTest, LogTakesDenormals) { EXPECT_LE(Ulps(Function(MapKind::kLog)(1e-42f), std::log(1e-42f)), 2); }

TEST_P(MathTest, TanhIsWithin4Ulp) {
  EXPECT_LE(WorstUlps(Function(ActivationKind::kTanh), std::tanh, -12, 12), 4);
  EXPECT_EQ(Function(ActivationKind::kTanh)(kInfinity), 1);
  EXPECT_EQ(Function(ActivationKind::kTanh)(-1e30f), -1);
}

TEST_P(MathTest, SoftplusIsWithin4Ulp) {
  const auto softplus = [](double x) { return std::fmax(x, 0) + std::log1p(std::exp(-std::abs(x))); };
  EXPECT_LE(WorstUlps(Function(MapKind::kSoftplus), softplus, -80, 100), 4);
}

TEST_P(MathTest, SigmoidIsWithin4Ulp) {
  EXPECT_LE(WorstUlps(
                Function(MapKind::kSigmoid), [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80),
            4);
}

TEST_P(MathTest, AtanhIsWithin4Ulp) { EXPECT_LE(WorstUlps(Function(MapKind::kAtanh), std::atanh, -0.999f, 0.999f), 4); }

TEST_P(MathTest, ExpMinusOneIsWithin4Ulp) {
  EXPECT_LE(WorstUlps(
                Function(ActivationKind::kElu), [](double x) { return x < 0 ? std::expm1(x) : x; }, -50, 10),
            4);
}

TEST_P(MathTest, GeluIsAccurateRelativeToItsArgument) {
  const std::vector<float> x = Numbers(-20, 20);
  const std::vector<float> y = Function(ActivationKind::kGelu)(x);
  for (size_t i = 0; i < x.size(); ++i) {
    const double truth = 0.5 * x[i] * std::erfc(-x[i] / std::sqrt(2.0));
    ASSERT_LE(std::abs(y[i] - truth), 2e-7 * std::abs(x[i])) << x[i];
  }
}

TEST_P(MathTest, SplinesAreTheIdentityForZeroParametersAndOutsideTheirInterval) {
  for (MapKind kind : {MapKind::kSplineForward, MapKind::kSplineInverse}) {
    for (size_t bins : {2, 7, 8, 64}) {
      const Function spline(kind, 0, 3 * bins - 1);
      const std::vector<float> x = Numbers(-5, 5);
      std::vector<float> log;
      const std::vector<float> y = spline(x, &log);
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_NEAR(y[i], x[i], std::abs(x[i]) <= 3 ? 3e-6 : 0) << bins << " bins";
        ASSERT_NEAR(log[i], 0, std::abs(x[i]) <= 3 ? 1e-5 : 0) << bins << " bins, x " << x[i];
      }
      EXPECT_EQ(spline(kInfinity), kInfinity);
      EXPECT_EQ(spline(-1e38f), -1e38f);
      EXPECT_TRUE(std::isnan(spline(std::nanf(""))));
    }
  }
}

TEST_P(MathTest, NotANumberStaysNotANumber) {
  for (MapKind kind : {MapKind::kExp, MapKind::kLog, MapKind::kSigmoid, MapKind::kLogit, MapKind::kSoftplus,
                       MapKind::kSoftplusInverse, MapKind::kTanh, MapKind::kAtanh, MapKind::kLeakyRelu}) {
    EXPECT_TRUE(std::isnan(Function(kind)(std::nanf("")))) << static_cast<int>(kind);
  }
  for (ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kTanh, ActivationKind::kGelu,
                              ActivationKind::kSilu, ActivationKind::kLeakyRelu, ActivationKind::kElu}) {
    EXPECT_TRUE(std::isnan(Function(kind)(std::nanf("")))) << static_cast<int>(kind);
  }
}

TEST_P(MathTest, MapsAreZeroWithoutDensityOutsideTheirDomain) {
  const std::pair<MapKind, float> outside[] = {
      {MapKind::kLog, 0.0f},    {MapKind::kLog, -1.0f},  {MapKind::kLogit, 0.0f},           {MapKind::kLogit, 1.5f},
      {MapKind::kAtanh, -1.0f}, {MapKind::kAtanh, 2.0f}, {MapKind::kSoftplusInverse, -0.5f}};
  for (const auto& [kind, x] : outside) {
    std::vector<float> log;
    EXPECT_EQ(Function(kind)(std::vector<float>{x}, &log).front(), 0);
    EXPECT_EQ(log.front(), -kInfinity);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MathTest, testing::Values(HWY_AVX3, HWY_AVX2, HWY_EMU128),
                         [](const auto& info) { return std::string(hwy::TargetName(info.param)); });

}  // namespace
}  // namespace densityd::engine::cpu
