#include "server/flow/fused_affine.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

const std::vector<BoundedAffine> kMaps = {{7, 1, false}, {7, -1, true}, {0.5, -1, false}, {3, 1, true}};

// The map's definition, in LibTorch's operations.
MappedColumns Define(const BoundedAffine& map, const Tensor& x, const Tensor& theta) {
  const Tensor log_g = map.sign * SoftBound(theta.select(2, 0), map.bound);
  const Tensor t = theta.select(2, 1);
  return {map.shifts_first ? (x - t) * log_g.exp() : x * log_g.exp() + t, log_g};
}

struct Input {
  Tensor x;
  Tensor theta;
};

// Not a multiple of any vector's length; some parameters are deep in the tails of the bound.
Input MakeInput(torch::Dtype dtype) {
  return {Normal({37, 5}, 1).to(torch::kFloat32).to(dtype).requires_grad_(),
          (4 * Normal({37, 5, 2}, 2)).to(torch::kFloat32).to(dtype).requires_grad_()};
}

double RelativeError(const Tensor& numbers, const Tensor& expected) {
  return MaxAbs(numbers.to(torch::kFloat64) - expected) / MaxAbs(expected);
}

TEST(FusedAffineTest, AgreesWithItsDefinitionInFloat64AndSoDoItsGradients) {
  const Tensor weights = Normal({2, 37, 5}, 3).to(torch::kFloat32);
  for (const BoundedAffine& map : kMaps) {
    SCOPED_TRACE(testing::Message() << map.bound << " " << map.sign << " " << map.shifts_first);
    const Input input = MakeInput(torch::kFloat32);
    const Input exact = MakeInput(torch::kFloat64);
    ASSERT_TRUE(SuitsFusedAffine(input.x, input.theta));
    const MappedColumns fused = FusedAffine(map, input.x, input.theta);
    const MappedColumns expected = Define(map, exact.x, exact.theta);
    EXPECT_LT(RelativeError(fused.value, expected.value), 2e-6);
    EXPECT_LT(RelativeError(fused.log_slope, expected.log_slope), 5e-7);
    const auto gradients = [](const MappedColumns& mapped, const Input& at, const Tensor& of) {
      return torch::autograd::grad({(mapped.value * of[0] + mapped.log_slope * of[1]).sum()}, {at.x, at.theta});
    };
    const auto by = gradients(fused, input, weights);
    const auto expected_by = gradients(expected, exact, weights.to(torch::kFloat64));
    for (size_t i = 0; i < 2; ++i) EXPECT_LT(RelativeError(by[i], expected_by[i]), 2e-6) << i;
  }
}

TEST(FusedAffineTest, EitherResultAloneHasItsGradient) {
  for (const bool of_value : {false, true}) {
    const Input input = MakeInput(torch::kFloat32);
    const Input exact = MakeInput(torch::kFloat64);
    const auto gradient = [&](const MappedColumns& mapped, const Input& at) {
      return torch::autograd::grad({(of_value ? mapped.value : mapped.log_slope).sum()}, {at.theta})[0];
    };
    const Tensor expected = gradient(Define(kMaps[1], exact.x, exact.theta), exact);
    EXPECT_LT(RelativeError(gradient(FusedAffine(kMaps[1], input.x, input.theta), input), expected), 2e-6);
  }
}

TEST(FusedAffineTest, GradientsOfGradientsAreThoseOfItsDefinition) {
  for (const BoundedAffine& map : kMaps) {
    const auto second = [&](bool is_fused, const Input& at) {
      const MappedColumns mapped = is_fused ? FusedAffine(map, at.x, at.theta) : Define(map, at.x, at.theta);
      const Tensor sum = (mapped.value.square() + mapped.log_slope).sum();
      const Tensor by_x = torch::autograd::grad({sum}, {at.x}, {}, true, /*create_graph=*/true)[0];
      return torch::autograd::grad({by_x.square().sum()}, {at.theta})[0];
    };
    const Tensor expected = second(false, MakeInput(torch::kFloat64));
    EXPECT_LT(RelativeError(second(true, MakeInput(torch::kFloat32)), expected), 1e-5);
  }
}

TEST(FusedAffineTest, ANumberThatIsNotANumberStaysVisible) {
  for (const BoundedAffine& map : kMaps) {
    for (const int64_t parameter : {0, 1}) {
      const Input input = MakeInput(torch::kFloat32);
      Tensor theta = input.theta.detach().clone();
      theta[20][3][parameter] = std::numeric_limits<float>::quiet_NaN();
      const MappedColumns mapped = FusedAffine(map, input.x, theta.requires_grad_());
      EXPECT_EQ(mapped.value.isnan().sum().item<int64_t>(), 1);
      EXPECT_TRUE(mapped.value[20][3].isnan().item<bool>());
      EXPECT_EQ(mapped.log_slope[20][3].isnan().item<bool>(), parameter == 0);
    }
  }
}

}  // namespace
}  // namespace densityd::flow
