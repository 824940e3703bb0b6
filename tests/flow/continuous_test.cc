// The solver of differential equations, and what continuous flows promise beyond other transforms.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flow/ode_solver.h"
#include "server/flow/row_error.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

using testing::HasSubstr;
using Tensors = std::vector<Tensor>;

std::shared_ptr<OdeProblem> Problem(OdeRate rate, double tolerance) {
  auto problem = std::make_shared<OdeProblem>();
  problem->prepare = [rate = std::move(rate)] { return rate; };
  problem->controlled = 1;
  problem->absolute_tolerance = tolerance;
  problem->relative_tolerance = tolerance;
  problem->max_steps = 10000;
  return problem;
}

// dy/ds = k cos(3 s) y with a k of each row: y(1) = y(0) exp(k sin(3) / 3).
Tensor Swing(const Tensor& s, const Tensor& y, const Tensors& given) { return given[0] * (3 * s).cos() * y; }

Tensor SwingEnd(const Tensor& start, const Tensor& k) { return start * (k * std::sin(3.0) / 3).exp(); }

TEST(SolveOde, MeetsTheToleranceAndNeedsFewStepsForIt) {
  const Tensor start = Normal({200, 1}, 1);
  const Tensor k = 4 * Normal({200, 1}, 2);
  double last = 1;
  for (double tolerance : {1e-3, 1e-5, 1e-7, 1e-9, 1e-11}) {
    int64_t evaluations = 0;
    const auto counted = [&](const Tensor& s, const Tensor& y, const Tensors& given) {
      ++evaluations;
      return Swing(s, y, given);
    };
    const Tensor end = SolveOde(Problem(counted, tolerance), start, {k});
    const Tensor error = (end - SwingEnd(start, k)).abs() / (1 + end.abs());
    EXPECT_LE(error.max().item<double>(), 20 * tolerance);
    EXPECT_LT(error.max().item<double>(), last / 10) << "a smaller tolerance is worth it";
    last = error.max().item<double>();
    // A method of order 5: a hundredth of the tolerance takes 100^(1/5) = 2.5 times the steps.
    EXPECT_LE(evaluations, 6 * 12 * std::pow(1e-3 / tolerance, 0.2)) << tolerance;
  }
}

TEST(SolveOde, ARowTakesTheStepsThatItTakesAlone) {
  const Tensor start = Normal({50, 2}, 1);
  Tensor k = 3 * Normal({50, 1}, 2);
  k[7][0] = 300;  // a neighbour that needs many more steps
  const auto problem = Problem(Swing, 1e-6);
  const Tensor together = SolveOde(problem, start, {k});
  for (int64_t row = 0; row < 50; ++row) {
    const Tensor alone = SolveOde(problem, start.narrow(0, row, 1), {k.narrow(0, row, 1)});
    // Other steps would differ by about the tolerance, 1e-6.
    EXPECT_LE(MaxAbs(alone.squeeze(0) - together[row]), 1e-12 * (1 + MaxAbs(alone))) << row;
  }
}

TEST(SolveOde, OnlyARowThatCannotBeSolvedIsNaN) {
  // dy/ds = y^2 is infinite at s = 1 / y(0).
  const auto problem = Problem([](const Tensor&, const Tensor& y, const Tensors&) { return y.square(); }, 1e-6);
  const Tensor start = torch::tensor({0.5, 2.0, -3.0, 1.5, std::nan("")}, torch::kFloat64).unsqueeze(1);
  const Tensor end = SolveOde(problem, start, {});
  EXPECT_TRUE(end.isnan().squeeze(1).equal(torch::tensor({false, true, false, true, true}))) << end;
  EXPECT_NEAR(end[0].item<double>(), 1, 1e-5);
  EXPECT_NEAR(end[2].item<double>(), -0.75, 1e-5);
  problem->max_steps = 3;
  EXPECT_EQ(SolveOde(problem, start, {}).isnan().sum().item<int64_t>(), 5);
}

TEST(SolveOde, NothingChangesWithoutARate) {
  int64_t evaluations = 0;
  const auto still = [&](const Tensor&, const Tensor& y, const Tensors&) {
    ++evaluations;
    return torch::zeros_like(y);
  };
  const Tensor start = Normal({3, 4}, 1);
  EXPECT_TRUE(SolveOde(Problem(still, 1e-9), start, {}).equal(start));
  EXPECT_EQ(evaluations, 7) << "one step";
}

TEST(SolveOde, IsDifferentiableByStartGivenAndParameters) {
  const Tensor start = Normal({20, 1}, 1).requires_grad_();
  const Tensor k = Normal({20, 1}, 2).requires_grad_();
  const Tensor factor = torch::full({1}, 0.7, torch::kFloat64).requires_grad_();
  const auto rate = [&](const Tensor& s, const Tensor& y, const Tensors& given) { return factor * Swing(s, y, given); };
  const auto problem = Problem(rate, 1e-11);
  problem->parameters = {factor};
  const Tensors inputs = {start, k, factor};
  const auto gradients = torch::autograd::grad({SolveOde(problem, start, {k}).square().sum()}, inputs);
  const auto expected = torch::autograd::grad({SwingEnd(start, factor * k).square().sum()}, inputs);
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_GT(MaxAbs(expected[i]), 0.1);
    EXPECT_LE(MaxAbs(gradients[i] - expected[i]), 1e-8) << i;
  }
  // One of them alone.
  const Tensor by_factor = torch::autograd::grad({SolveOde(problem, start, {k}).square().sum()}, {factor})[0];
  EXPECT_LE(MaxAbs(by_factor - expected[2]), 1e-8);
  EXPECT_THROW(torch::autograd::grad({SolveOde(problem, start, {k}).sum()}, {start}, {}, true, /*create_graph=*/true),
               std::logic_error);
}

TEST(SolveOde, TheGradientIsThatOfTheStepsAtAnyTolerance) {
  // So coarse that the exact solution's gradient is another one. The steps' sizes do not follow from a linear
  // equation's start, so the numerical derivative sees the same steps.
  const Tensor start = torch::ones({1, 1}, torch::kFloat64).requires_grad_();
  const Tensor k = torch::full({1, 1}, 6.0, torch::kFloat64);
  const auto problem = Problem(Swing, 1e-1);
  problem->absolute_tolerance = 1e-9;
  const Tensor gradient = torch::autograd::grad({SolveOde(problem, start, {k})}, {start})[0];
  EXPECT_NEAR(gradient.item<double>(), SolveOde(problem, start.detach(), {k}).item<double>(), 1e-12);
  EXPECT_GT(std::abs(gradient.item<double>() - std::exp(2 * std::sin(3.0))), 1e-6);
}

std::string Layer(const std::string& fields, int64_t features = 3) {
  return "features: " + std::to_string(features) + " layers { continuous { " + fields + " } } ";
}

TEST(Continuous, ARowThatNeedsTooManyStepsIsNamed) {
  const auto flow = Build(ParseSpec(Layer("max_steps: 12 network { hidden: [16] }")));
  Randomise(*flow, 0.5);
  flow->eval();
  const Tensor x = Normal({10, 3}, 1);
  EXPECT_TRUE(flow->Inverse(x, Tensor()).value.isfinite().all().item<bool>());
  // A step for the time: every row turns round about fifty times a second.
  const torch::NoGradGuard no_grad;
  flow->named_parameters()["layers.0.network.0.weight"].mul_(60);
  flow->named_parameters()["layers.0.network.1.weight"].mul_(20);
  Tensor calm = x.clone();
  calm.narrow(0, 0, 6).fill_(1e4);  // where each unit is saturated
  try {
    flow->LogProb(calm, Tensor());
    FAIL() << "no row was refused";
  } catch (const RowError& error) {
    EXPECT_EQ(error.row(), 6);
    EXPECT_THAT(error.what(), HasSubstr("max_steps = 12 steps"));
  }
  EXPECT_THROW(flow->Forward(x, Tensor()), RowError);
  flow->train();
  const Tensor log_prob = flow->LogProb(calm, Tensor());
  EXPECT_TRUE(log_prob.narrow(0, 0, 6).isfinite().all().item<bool>());
  EXPECT_TRUE(log_prob.narrow(0, 6, 4).isnan().any().item<bool>());
}

TEST(Continuous, ShallowNetworksHaveAnExactTraceWhateverTheNumberOfColumns) {
  for (const std::string hidden : {"[24]", "[20, 24]"}) {
    const std::string options =
        "exact_trace_features: 0 atol: 1e-8 rtol: 1e-8 network { hidden: " + hidden + " activation: SILU }";
    const auto flow = Build(ParseSpec(Layer(options, 18)));
    Randomise(*flow, 0.2);
    const Tensor x = Normal({5, 18}, 1);
    const Mapped z = flow->Inverse(x, Tensor());
    const Tensor expected = AutogradLogAbsDet([&](const Tensor& at) { return flow->Inverse(at, Tensor()).value; }, x);
    EXPECT_LE(MaxAbs(z.log_abs_det - expected), 1e-6);
    EXPECT_GT(MaxAbs(expected), 0.1);
  }
}

TEST(Continuous, AnEstimatedTraceIsUnbiasedTheSameInEveryCallAndFreshInTraining) {
  const std::string network = "atol: 1e-4 rtol: 1e-4 network { hidden: [12, 12, 12] } ";
  const auto exact = Build(ParseSpec(Layer(network)));
  const auto estimated = [&](int probes, int seed) {
    auto flow = Build(ParseSpec(Layer(network + "exact_trace_features: 0 probes: " + std::to_string(probes) +
                                      " seed: " + std::to_string(seed))));
    Randomise(*flow, 0.4);
    flow->eval();
    return flow;
  };
  Randomise(*exact, 0.4);
  exact->eval();
  const torch::NoGradGuard no_grad;
  const Tensor x = Normal({30, 3}, 1);
  const Mapped expected = exact->Inverse(x, Tensor());
  const auto some = estimated(4, 1);
  const Mapped first = some->Inverse(x, Tensor());
  EXPECT_LE(MaxAbs(first.value - expected.value), 1e-3);
  EXPECT_TRUE(some->Inverse(x, Tensor()).log_abs_det.equal(first.log_abs_det));
  EXPECT_FALSE(estimated(4, 2)->Inverse(x, Tensor()).log_abs_det.equal(first.log_abs_det));
  // The error shrinks as one over the root of the number of probes.
  const auto error = [&](int probes) {
    return (estimated(probes, 3)->Inverse(x, Tensor()).log_abs_det - expected.log_abs_det).square().mean().sqrt();
  };
  const double of_one = error(1).item<double>();
  EXPECT_GT(of_one, 0.01);
  EXPECT_LE(error(256).item<double>(), of_one / 5);
  // What Inverse and Forward say of one point belongs together.
  EXPECT_LE(MaxAbs(some->Forward(first.value, Tensor()).log_abs_det + first.log_abs_det), 1e-2);
  some->train();
  Tensor mean = torch::zeros({30}, torch::kFloat64);
  constexpr int kTimes = 100;
  for (int i = 0; i < kTimes; ++i) mean += some->Inverse(x, Tensor()).log_abs_det / kTimes;
  EXPECT_FALSE(some->Inverse(x, Tensor()).log_abs_det.equal(some->Inverse(x, Tensor()).log_abs_det));
  EXPECT_LE((mean - expected.log_abs_det).square().mean().sqrt().item<double>(), of_one / 5);
}

// z = x + a rotation by `angle`, as far as a network of tiny slopes is linear.
std::shared_ptr<Flow> NearlyLinear(const std::string& options, const Tensor& matrix) {
  auto flow = Build(ParseSpec(Layer(options + " atol: 1e-10 rtol: 1e-10 network { hidden: 2 }", 2)));
  const torch::NoGradGuard no_grad;
  constexpr double kTiny = 1e-4;
  auto parameters = flow->named_parameters();
  parameters["layers.0.network.0.weight"].zero_();
  parameters["layers.0.network.0.weight"].narrow(1, 0, 2).copy_(torch::eye(2, torch::kFloat64) * kTiny);
  parameters["layers.0.network.0.bias"].zero_();
  parameters["layers.0.network.1.weight"].copy_(matrix / kTiny);
  return flow;
}

TEST(Continuous, RegularisesTheEnergyAndTheJacobianOfThePath) {
  // v = A x keeps |x| for a skew A, so |v|^2 = |A|^2 |x|^2 / 2 all the way, and J = A.
  const Tensor rotation = torch::tensor({{0.0, -1.5}, {1.5, 0.0}}, torch::kFloat64);
  const Tensor x = Normal({20, 2}, 1);
  const auto plain = NearlyLinear("", rotation);
  const Tensor surprise = -plain->LogProb(x, Tensor());
  EXPECT_TRUE(plain->TrainingLoss(x, Tensor()).equal(surprise));
  const auto kinetic = NearlyLinear("kinetic_regularization: 0.1", rotation);
  const Tensor energy = 2.25 * x.square().sum(1);
  EXPECT_LE(MaxAbs(kinetic->TrainingLoss(x, Tensor()) - surprise - 0.1 * energy), 1e-5);
  for (const std::string exact : {"", "exact_trace_features: 0 probes: 2"}) {
    // A probe of a multiple of a rotation has no error.
    const auto jacobian = NearlyLinear("kinetic_regularization: 0.1 jacobian_regularization: 0.3 " + exact, rotation);
    EXPECT_LE(MaxAbs(jacobian->TrainingLoss(x, Tensor()) - surprise - 0.1 * energy - 0.3 * 4.5), 1e-5) << exact;
    jacobian->TrainingLoss(x, Tensor()).mean().backward();
    EXPECT_GT(MaxAbs(jacobian->named_parameters()["layers.0.network.1.weight"].grad()), 0);
  }
  // What regularises is no part of the density.
  EXPECT_LE(MaxAbs(kinetic->LogProb(x, Tensor()) + surprise), 1e-12);
}

TEST(FlowMatching, ComparesTheVelocityWithStraightLinesToTheBase) {
  const std::string spec =
      "features: 2 layers { standardize { mean: [3, -2] scale: [2, 5] } }"
      "layers { continuous { objective: FLOW_MATCHING network { hidden: [8] } } }"
      "layers { standardize { mean: [1, 0] scale: [1, 1] } } ";
  const auto flow = Build(ParseSpec(spec));
  const Tensor x = Normal({40000, 2}, 3) * torch::tensor({2.0, 5.0}) + torch::tensor({3.0, -2.0});
  // The velocity of a new flow is zero: the loss is |z - x|^2 with x ~ N(0, I) and z ~ N((1, 0), I).
  at::manual_seed(1);
  const Tensor still = flow->TrainingLoss(x, Tensor()).detach();
  EXPECT_NEAR(still.mean().item<double>(), 5, 0.08);
  {
    // The best constant velocity is the mean of z - x, and leaves the variance.
    const torch::NoGradGuard no_grad;
    flow->named_parameters()["layers.1.network.1.bias"].copy_(torch::tensor({1.0, 0.0}));
  }
  EXPECT_NEAR(flow->TrainingLoss(x, Tensor()).mean().item<double>(), 4, 0.08);
  // Reproducible from LibTorch's generator, and other noise in each call.
  at::manual_seed(5);
  const Tensor first = flow->TrainingLoss(x, Tensor());
  EXPECT_FALSE(flow->TrainingLoss(x, Tensor()).equal(first));
  at::manual_seed(5);
  EXPECT_TRUE(flow->TrainingLoss(x, Tensor()).equal(first));
  first.mean().backward();
  EXPECT_TRUE(flow->named_parameters()["layers.1.network.1.weight"].grad().isfinite().all().item<bool>());
}

}  // namespace
}  // namespace densityd::flow
