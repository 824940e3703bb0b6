#include "server/flow/fused_linear.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "server/flow/activated_linear.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

struct Shape {
  int64_t rows;
  int64_t inputs;
  int64_t outputs;
};

// Around the kernels' blocks of 6 rows, 16 and 64 columns, 192 cached rows and a depth of 512.
const std::vector<Shape> kShapes = {{1, 1, 1},    {2, 3, 5},     {7, 6, 16},     {64, 17, 65},
                                    {200, 63, 9}, {513, 100, 6}, {1030, 33, 70}, {50, 530, 600}};

// Ones where i <= j * inputs / outputs, and none in the first rows where these are many; or undefined.
WeightMask Mask(const Shape& shape, bool masked) {
  if (!masked) return {};
  const Tensor inputs = torch::arange(shape.inputs).unsqueeze(0);
  const Tensor outputs = torch::arange(shape.outputs).unsqueeze(1);
  return MakeWeightMask((inputs * shape.outputs < outputs * shape.inputs).to(torch::kFloat32));
}

struct Result {
  Tensor y;
  std::vector<Tensor> gradients;  // of x, W and b
};

// The layer and the gradients of a weighted sum of its outputs.
template <typename Layer>
Result Compute(const Layer& layer, std::vector<Tensor> inputs, const Tensor& weights) {
  for (Tensor& input : inputs) input = input.detach().clone().requires_grad_();
  Tensor y = layer(inputs);
  return {y, torch::autograd::grad({(y * weights).sum()}, inputs)};
}

double RelativeError(const Tensor& numbers, const Tensor& expected) {
  return MaxAbs(numbers.to(torch::kFloat64) - expected) / std::max(MaxAbs(expected), 1e-3);
}

std::vector<Tensor> Inputs(const Shape& shape, const WeightMask& mask) {
  Tensor weight = Normal({shape.outputs, shape.inputs}, 2) / std::sqrt(static_cast<double>(shape.inputs));
  if (mask.factors.defined()) weight = weight * mask.factors;
  return {Normal({shape.rows, shape.inputs}, 1).to(torch::kFloat32), weight.to(torch::kFloat32),
          Normal({shape.outputs}, 3).to(torch::kFloat32)};
}

TEST(FusedLinearTest, AgreesWithAutogradInFloat64) {
  for (const Shape& shape : kShapes) {
    for (const bool masked : {false, true}) {
      for (const bool relu : {false, true}) {
        SCOPED_TRACE(testing::Message() << shape.rows << " x " << shape.inputs << " x " << shape.outputs << " masked "
                                        << masked << " relu " << relu);
        const WeightMask mask = Mask(shape, masked);
        const std::vector<Tensor> inputs = Inputs(shape, mask);
        const Tensor weights = Normal({shape.rows, shape.outputs}, 4);
        const Result fused = Compute([&](const auto& in) { return FusedLinear(in[0], in[1], in[2], mask, relu); },
                                     inputs, weights.to(torch::kFloat32));
        std::vector<Tensor> exact;
        for (const Tensor& input : inputs) exact.push_back(input.to(torch::kFloat64));
        // Which side of zero an output is on is for float32 to say: at the kink both gradients are right.
        const Tensor side = (fused.y > 0).to(torch::kFloat64);
        const auto reference = [&](const auto& in) {
          const Tensor weight = masked ? in[1] * mask.factors.to(torch::kFloat64) : in[1];
          const Tensor y = torch::linear(in[0], weight, in[2]);
          return relu ? y * side : y;
        };
        const Result expected = Compute(reference, exact, weights);
        EXPECT_LT(RelativeError(fused.y, expected.y), 1e-5);
        for (size_t i = 0; i < 3; ++i) EXPECT_LT(RelativeError(fused.gradients[i], expected.gradients[i]), 1e-5) << i;
        if (masked) {
          EXPECT_EQ(MaxAbs(fused.gradients[1] * (1 - mask.factors)), 0);
        }
      }
    }
  }
}

TEST(FusedLinearTest, TheNumberOfThreadsChangesNoBit) {
  const int threads = at::get_num_threads();
  for (const Shape& shape : kShapes) {
    const WeightMask mask = Mask(shape, /*masked=*/true);
    const Tensor weights = Normal({shape.rows, shape.outputs}, 4).to(torch::kFloat32);
    const auto run = [&](int count) {
      at::set_num_threads(count);
      return Compute([&](const auto& in) { return FusedLinear(in[0], in[1], in[2], mask, /*relu=*/true); },
                     Inputs(shape, mask), weights);
    };
    const Result one = run(1);
    const Result three = run(3);
    EXPECT_TRUE(torch::equal(one.y, three.y));
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(one.gradients[i], three.gradients[i])) << i;
  }
  at::set_num_threads(threads);
}

TEST(FusedLinearTest, TakesColumnsThatAreNotNeighbours) {
  const std::vector<Tensor> inputs = Inputs({9, 10, 20}, {});
  const Tensor weight = inputs[1].narrow(1, 0, 5).contiguous();
  // What the layer gives, and the gradient of its weight.
  const auto compute = [&](const Tensor& x) {
    const Tensor learnt = weight.clone().requires_grad_();
    const Tensor y = FusedLinear(x, learnt, inputs[2], {}, /*relu=*/true);
    return std::pair(y.detach(), torch::autograd::grad({y.square().sum()}, {learnt})[0]);
  };
  for (const Tensor& x : {inputs[0].slice(1, 0, 10, 2), inputs[0].narrow(1, 0, 9).t().narrow(1, 0, 5)}) {
    const auto [y, gradient] = compute(x);
    const auto [expected, expected_gradient] = compute(x.contiguous());
    EXPECT_TRUE(torch::equal(y, expected)) << x.strides();
    EXPECT_TRUE(torch::equal(gradient, expected_gradient)) << x.strides();
  }
}

TEST(FusedLinearTest, ANumberThatIsNotFiniteStaysVisible) {
  const Shape shape = {9, 5, 20};
  std::vector<Tensor> inputs = Inputs(shape, {});
  inputs[0][4][2] = std::numeric_limits<float>::quiet_NaN();
  const Result result = Compute([](const auto& in) { return FusedLinear(in[0], in[1], in[2], {}, /*relu=*/true); },
                                inputs, torch::ones({9, 20}));
  EXPECT_TRUE(result.y.isnan().any(1).equal(torch::arange(9) == 4));
  EXPECT_TRUE(result.gradients[1].isnan().any().item<bool>());
}

TEST(FusedLinearTest, GradientsOfGradientsAreThoseOfTheUnfusedLayer) {
  const Shape shape = {11, 4, 7};
  const WeightMask mask = Mask(shape, /*masked=*/true);
  const std::vector<Tensor> inputs = Inputs(shape, mask);
  // The gradient of the squared norm of the gradient by x.
  const auto second = [&](bool fused, torch::Dtype dtype) {
    std::vector<Tensor> in;
    for (const Tensor& input : inputs) in.push_back(input.to(dtype).detach().clone().requires_grad_());
    const Tensor factors = mask.factors.to(dtype);
    const Tensor y = fused ? FusedLinear(in[0], in[1], in[2], mask, /*relu=*/true)
                           : torch::relu(torch::linear(in[0], in[1] * factors, in[2]));
    const Tensor gradient = torch::autograd::grad({y.square().sum()}, {in[0]}, {}, true, /*create_graph=*/true)[0];
    return torch::autograd::grad({gradient.square().sum()}, {in[1]})[0] * factors;
  };
  EXPECT_LT(RelativeError(second(true, torch::kFloat32), second(false, torch::kFloat64)), 1e-5);
}

std::shared_ptr<Flow> MakeFlow(const std::string& preset_text) {
  density::v1::Preset preset;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(preset_text, &preset));
  auto flow = Build(ExpandPreset(preset, 3, 2).value());
  Randomise(*flow, 0.1);
  flow->to(torch::kFloat32);
  return flow;
}

TEST(FusedLinearTest, AFlowThatIsPreparedForTrainingHasTheGradientsThatItHad) {
  for (const char* preset : {"name: 'maf' transforms: 2 hidden: [20, 30] no_standardize: true",
                             "name: 'iaf' transforms: 2 hidden: [8] no_standardize: true activation: TANH",
                             "name: 'realnvp' transforms: 2 hidden: [20, 30] no_standardize: true",
                             "name: 'nsf_ar' transforms: 1 hidden: [16] residual: true no_standardize: true"}) {
    const auto flow = MakeFlow(preset);
    const auto prepared = MakeFlow(preset);
    PrepareForTraining(*prepared);
    const Tensor x = Normal({50, 3}, 3).to(torch::kFloat32);
    const Tensor context = Normal({50, 2}, 4).to(torch::kFloat32);
    flow->LogProb(x, context).mean().backward();
    prepared->LogProb(x, context).mean().backward();
    const auto expected = flow->named_parameters();
    for (const auto& parameter : prepared->named_parameters()) {
      const Tensor gradient = expected[parameter.key()].grad().to(torch::kFloat64);
      EXPECT_LT(RelativeError(parameter.value().grad(), gradient), 1e-4) << preset << parameter.key();
      // What a mask hides stays zero, whatever was there.
      const Tensor hidden = gradient == 0;
      EXPECT_EQ(MaxAbs(parameter.value().grad() * hidden), 0) << preset << parameter.key();
    }
  }
}

}  // namespace
}  // namespace densityd::flow
