#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flow/row_error.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

using testing::HasSubstr;
using torch::Tensor;

// x = z - g(x) may be beyond the largest number where z is near it.
TEST(Residual, ARowThatOverflowsOnItsWayIsNamedAndItsNeighboursAreNotToBlame) {
  const auto flow =
      Build(ParseSpec("features: 2 layers { residual { network { hidden: [16] } } } base { standard_normal {} }"));
  Randomise(*flow, 1);
  flow->eval();
  int refused = 0;
  for (const double a : {-1.7e308, 1.7e308}) {
    for (const double b : {-1.7e308, 1.7e308}) {
      const Tensor z = torch::tensor({{0.5, -1.0}, {a, b}, {2.0, 3.0}}, torch::kFloat64);
      try {
        const Tensor x = flow->Forward(z, Tensor()).value;
        EXPECT_TRUE(x.isfinite().all().item<bool>()) << x;
      } catch (const RowError& error) {
        ++refused;
        EXPECT_EQ(error.row(), 1);
        EXPECT_THAT(error.what(), HasSubstr("a residual layer finds no x for it"));
      }
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_TRUE(
      flow->Forward(torch::tensor({{1e300, -1e300}}, torch::kFloat64), Tensor()).value.isfinite().all().item<bool>());
}

// The rounding errors of the large column in g(x) are more than the others' tolerance.
TEST(Residual, ARowWithOneLargeColumnIsSolvedToTheDigitsThatItHas) {
  const auto flow = Build(ParseSpec(
      "features: 4 layers { residual { coefficient: 0.9 network { hidden: [64, 64] } } } base { standard_normal {} }"));
  Randomise(*flow, 1);
  flow->eval();
  const Tensor z = Normal({200, 4}, 3);
  const Tensor magnitudes = torch::tensor({1e4, 1e5, 1e6, -1e6}, torch::kFloat64);
  for (int64_t row = 0; row < z.size(0); ++row) z[row][row % 4] = magnitudes[row / 4 % 4];
  const Tensor large = z.abs().amax(1, /*keepdim=*/true);
  const auto error_of = [&](const Tensor& numbers) {
    const Tensor x = flow->Forward(numbers, Tensor()).value;
    return MaxAbs((flow->Inverse(x, Tensor()).value - numbers).to(torch::kFloat64) / large);
  };
  EXPECT_LE(error_of(z), 1e-14);
  const Tensor expected = flow->Forward(z, Tensor()).value;
  // In float64 a column has to be still larger.
  Tensor larger = z.clone();
  larger.mul_(torch::where(z.abs() > 1e3, 1e9, 1.0));
  EXPECT_LE(error_of(larger), 1e-5);
  flow->to(torch::kFloat32);
  EXPECT_LE(error_of(z.to(torch::kFloat32)), 1e-6);
  EXPECT_LE(MaxAbs((flow->Forward(z.to(torch::kFloat32), Tensor()).value - expected) / large), 1e-5);
}

}  // namespace
}  // namespace densityd::flow
