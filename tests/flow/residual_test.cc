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

}  // namespace
}  // namespace densityd::flow
