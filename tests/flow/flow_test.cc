// What a built flow promises beyond the properties of each transform.
#include "server/flow/flow.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flow/columns.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"
#include "torch/autograd.h"

namespace densityd::flow {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

// d output / d input (D, inputs) at the first row.
Tensor Jacobian(const Tensor& output, const Tensor& input) {
  std::vector<Tensor> rows;
  for (int64_t j = 0; j < output.size(1); ++j) {
    rows.push_back(torch::autograd::grad({output[0][j]}, {input}, {}, /*retain_graph=*/true)[0][0]);
  }
  return torch::stack(rows);
}

class AutoregressiveOrderTest : public testing::TestWithParam<std::tuple<const char*, const char*, const char*>> {};

TEST_P(AutoregressiveOrderTest, EachColumnDependsOnAllColumnsBeforeItTheContextAndNoOther) {
  const auto [order, network, parallel] = GetParam();
  const auto flow = Build(ParseSpec(std::string("features: 5 context_features: 2 layers { autoregressive { ") + order +
                                    " conditioner { " + network + " } parallel: " + parallel + " } }"));
  Randomise(*flow, 0.5);
  const Columns columns = AutoregressiveOrder(flow->spec().layers(0).autoregressive(), 5);
  const Tensor x = Normal({1, 5}, 2).requires_grad_();
  const Tensor context = Normal({1, 2}, 3).requires_grad_();
  const Tensor z = flow->Inverse(x, context).value;
  const Tensor jacobian = Jacobian(z, x);
  const Tensor of_context = Jacobian(z, context);
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 5; ++j) {
      const double slope = jacobian[columns[i]][columns[j]].item<double>();
      if (j > i) {
        EXPECT_EQ(slope, 0) << "place " << i << " depends on the later place " << j;
      } else {
        EXPECT_NE(slope, 0) << "place " << i << " does not depend on place " << j;
      }
    }
    EXPECT_NE(of_context[columns[i]].abs().min().item<double>(), 0) << "place " << i << " ignores the context";
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, AutoregressiveOrderTest,
                         testing::Combine(testing::Values("order: NATURAL", "order: REVERSED",
                                                          "columns: [3, 1, 4, 0, 2]"),
                                          testing::Values("mlp { hidden: [16, 11] activation: TANH }",
                                                          "residual_mlp { hidden: 13 blocks: 2 activation: TANH }"),
                                          testing::Values("DENSITY", "SAMPLING")));

TEST(Coupling, PassesTheColumnsThatAreNotTransformed) {
  const auto flow = Build(ParseSpec("features: 5 layers { coupling { mask { transformed: [4, 1] } } }"));
  Randomise(*flow, 0.3);
  const Tensor x = Normal({20, 5}, 1);
  const Tensor change = (flow->Inverse(x, Tensor()).value - x).abs().amax(0);
  for (int64_t column : {0, 2, 3}) EXPECT_EQ(change[column].item<double>(), 0);
  for (int64_t column : {1, 4}) EXPECT_GT(change[column].item<double>(), 0);
}

TEST(Coupling, ScalesStayWithinTheirBoundWhateverTheNetworkSays) {
  const auto flow = Build(ParseSpec("features: 2 layers { coupling { univariate { affine { max_log_scale: 2 } } } }"));
  Randomise(*flow, 50);
  EXPECT_LE(MaxAbs(flow->Inverse(10 * Normal({200, 2}, 1), Tensor()).log_abs_det), 2);
}

const char kNetworkSpec[] = "features: 3 layers { coupling {} } layers { autoregressive {} }";

TEST(BuildFlow, TheSameSeedGivesTheSameWeightsWhateverElseDrawsNumbers) {
  const auto first = Build(ParseSpec(kNetworkSpec), 5);
  torch::rand({100});
  const auto second = Build(ParseSpec(kNetworkSpec), 5);
  const auto other = Build(ParseSpec(kNetworkSpec), 6);
  for (const auto& parameter : first->named_parameters()) {
    EXPECT_TRUE(parameter.value().equal(second->named_parameters()[parameter.key()])) << parameter.key();
  }
  const std::string weight = "layers.0.conditioner.0.weight";
  EXPECT_FALSE(first->named_parameters()[weight].equal(other->named_parameters()[weight]));
}

TEST(BuildFlow, LeavesTheGlobalGeneratorAlone) {
  torch::manual_seed(3);
  const Tensor expected = torch::rand({4});
  torch::manual_seed(3);
  Build(ParseSpec(kNetworkSpec));
  EXPECT_TRUE(torch::rand({4}).equal(expected));
}

TEST(BuildFlow, RefusesWhatIsNotValidOrNotFitted) {
  EXPECT_THAT(Message(BuildFlow(ParseSpec("features: 3 layers { coupling { mask { transformed: 3 } } }"), 1).status()),
              StartsWith("spec.layers[0].coupling.mask.transformed[0]: "));
  const auto unfitted = BuildFlow(ParseSpec("features: 3 layers { standardize {} }"), 1).status();
  EXPECT_EQ(unfitted.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(unfitted), StartsWith("spec.layers[0].standardize.mean: is empty"));
}

TEST(BuildFlow, KeepsTheSpecWithItsDefaultsWrittenOut) {
  const auto flow = Build(ParseSpec(kNetworkSpec));
  EXPECT_EQ(flow->spec().layers(0).coupling().conditioner().mlp().hidden(0), 64u);
}

TEST(Spline, IsTheIdentityOutsideItsIntervalAndKeepsTheInterval) {
  const auto flow =
      Build(ParseSpec("features: 1 layers { elementwise { univariate { rational_quadratic_spline {} } } }"));
  Randomise(*flow, 1);
  const Tensor outside = torch::tensor({{-1e30}, {-3.5}, {-3.0}, {3.0}, {3.001}, {1e6}}, torch::kFloat64);
  for (const Mapped& mapped : {flow->Inverse(outside, Tensor()), flow->Forward(outside, Tensor())}) {
    EXPECT_TRUE(mapped.value.equal(outside)) << mapped.value;
    EXPECT_LE(MaxAbs(mapped.log_abs_det), 1e-12);
  }
  const Tensor x = torch::linspace(-3, 3, 2001, torch::kFloat64).unsqueeze(1);
  const Tensor z = flow->Inverse(x, Tensor()).value;
  EXPECT_LE(MaxAbs(z), 3);
  EXPECT_GT((z.narrow(0, 1, 2000) - z.narrow(0, 0, 2000)).min().item<double>(), 0);
  EXPECT_GT(MaxAbs(z - x), 0.1);
}

// As float32 pi is larger than it is.
TEST(Spline, PiOfFloat32IsTheEndOfACircle) {
  density::v1::Preset preset;
  preset.set_name("circular_nsf");
  preset.set_transforms(2);
  preset.add_hidden(8);
  preset.set_no_standardize(true);
  const auto spec = ExpandPreset(preset, 2, 0);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto flow = Build(*spec);
  Randomise(*flow, 0.5);
  const auto pi = static_cast<float>(M_PI);
  const Tensor x = torch::tensor({{pi, 1.0F}, {0.5F, -pi}, {-pi, pi}}, torch::kFloat32).to(torch::kFloat64);
  const Tensor at = x.clone().requires_grad_();
  const Tensor log_prob = flow->LogProb(at, Tensor());
  const Tensor at_end = x.clamp(-M_PI, M_PI).requires_grad_();
  EXPECT_LE(MaxAbs(log_prob - flow->LogProb(at_end, Tensor())), 1e-6);
  // Its slope is that of the end, too.
  const Tensor score = torch::autograd::grad({log_prob.sum()}, {at})[0];
  EXPECT_LE(MaxAbs(score - torch::autograd::grad({flow->LogProb(at_end, Tensor()).sum()}, {at_end})[0]), 1e-5);
  flow->to(torch::kFloat32);
  EXPECT_LE(MaxAbs(flow->LogProb(x.to(torch::kFloat32), Tensor()) - log_prob), 1e-4);
  flow->to(torch::kFloat64);
  // There and back, up to a whole turn.
  EXPECT_LE(MaxAbs(torch::sin((flow->Inverse(flow->Forward(x, Tensor()).value, Tensor()).value - x) / 2)), 1e-6);
}

TEST(Spline, StaysInvertibleAtParametersOfAnySize) {
  const auto flow =
      Build(ParseSpec("features: 1 layers { elementwise { univariate { rational_quadratic_spline {} } } }"));
  for (const torch::Dtype dtype : {torch::kFloat64, torch::kFloat32}) {
    for (double deviation : {10.0, 1000.0}) {
      flow->to(torch::kFloat64);
      Randomise(*flow, deviation);
      flow->to(dtype);
      const Tensor x = torch::linspace(-3.2, 3.2, 501, dtype).unsqueeze(1).requires_grad_();
      const Tensor log_prob = flow->LogProb(x, Tensor());
      EXPECT_TRUE(log_prob.isfinite().all().item<bool>());
      log_prob.sum().backward();
      EXPECT_TRUE(x.grad().isfinite().all().item<bool>());
      EXPECT_TRUE(flow->parameters()[0].grad().isfinite().all().item<bool>());
      EXPECT_TRUE(flow->Forward(x, Tensor()).value.isfinite().all().item<bool>());
      flow->zero_grad();
    }
  }
}

struct Outside {
  std::string kind;
  double inside;
  std::vector<double> outside;
};

void PrintTo(const Outside& outside, std::ostream* out) { *out << outside.kind; }

class OutsideTheSupportTest : public testing::TestWithParam<Outside> {};

TEST_P(OutsideTheSupportTest, LogProbIsMinusInfinityAndNeighboursAndGradientsAreUnharmed) {
  const auto flow = Build(ParseSpec("features: 2 layers { bijection { " + GetParam().kind +
                                    " } } layers { autoregressive {} } layers { lu_linear {} }"));
  Randomise(*flow, 0.3);
  const Tensor inside = torch::full({1, 2}, GetParam().inside, torch::kFloat64);
  const double expected = flow->LogProb(inside, Tensor()).item<double>();
  ASSERT_TRUE(std::isfinite(expected));
  for (double value : GetParam().outside) {
    Tensor x = inside.repeat({3, 1});
    x[1][1] = value;
    x.requires_grad_();
    const Tensor log_prob = flow->LogProb(x, Tensor());
    EXPECT_EQ(log_prob[1].item<double>(), -std::numeric_limits<double>::infinity()) << value;
    EXPECT_NEAR(log_prob[0].item<double>(), expected, 1e-12);
    EXPECT_NEAR(log_prob[2].item<double>(), expected, 1e-12);
    EXPECT_TRUE(flow->Inverse(x, Tensor()).value.isfinite().all().item<bool>());
    const Tensor gradient = torch::autograd::grad({log_prob.sum()}, {x})[0];
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << gradient;
  }
}

INSTANTIATE_TEST_SUITE_P(Bijections, OutsideTheSupportTest,
                         testing::Values(Outside{"kind: EXP", 0.5, {0, -1e-300, -3}},
                                         Outside{"kind: SOFTPLUS", 0.5, {0, -1e-300, -3}},
                                         Outside{"kind: SIGMOID", 0.5, {0, 1, -2, 7}},
                                         Outside{"kind: TANH", 0.5, {-1, 1, 1e6}},
                                         Outside{"kind: SIGMOID alpha: 0.1", 0.5, {-0.2, 1.2}}));

TEST(Bijection, ANumberThatIsNotOneStaysSo) {
  const auto flow = Build(ParseSpec("features: 1 layers { bijection { kind: EXP } }"));
  const Tensor x = torch::full({1, 1}, std::numeric_limits<double>::quiet_NaN(), torch::kFloat64);
  EXPECT_TRUE(std::isnan(flow->LogProb(x, Tensor()).item<double>()));
}

TEST(Standardize, KeepsSmallDifferencesOfLargeNumbersInFloat32) {
  const auto flow = Build(ParseSpec("features: 1 layers { standardize { mean: 1.7e9 scale: 0.5 } }"));
  flow->to(torch::kFloat32);
  const Tensor z = flow->Inverse(torch::full({1, 1}, 1.7e9 + 0.25, torch::kFloat64), Tensor()).value;
  EXPECT_EQ(z.scalar_type(), torch::kFloat32);
  EXPECT_EQ(z.item<float>(), 0.5F);
}

TEST(Flow, StandardisesTheContext) {
  const std::string layer = " layers { elementwise { conditioner {} } }";
  const auto standardised =
      Build(ParseSpec("features: 2 context_features: 1" + layer + "context_preprocessing { mean: 100 scale: 50 }"));
  const auto plain = Build(ParseSpec("features: 2 context_features: 1" + layer));
  Randomise(*standardised, 0.3);
  Randomise(*plain, 0.3);
  const Tensor x = Normal({10, 2}, 1);
  const Tensor context = Normal({10, 1}, 2);
  EXPECT_LE(MaxAbs(standardised->LogProb(x, context * 50 + 100) - plain->LogProb(x, context)), 1e-12);
}

TEST(Flow, LogProbIsThatOfTheBaseAndTheLogDet) {
  const auto flow = Build(ParseSpec("features: 3 base { diagonal_normal {} } layers { autoregressive {} }"));
  Randomise(*flow, 0.3);
  const Tensor z = flow->BaseFromNoise(Normal({10, 3}, 1), Tensor());
  const Mapped x = flow->Forward(z, Tensor());
  const Tensor expected = flow->BaseLogProb(z, Tensor()) - x.log_abs_det;
  EXPECT_LE(MaxAbs(flow->LogProb(x.value, Tensor()) - expected), 1e-9);
}

TEST(Flow, BaseFromNoiseFollowsTheBaseDensity) {
  const auto flow = Build(ParseSpec("features: 2 base { diagonal_normal {} } layers { permutation {} }"));
  Randomise(*flow, 0.5);
  const Tensor normal = Normal({5, 2}, 1);
  const Tensor standard = -0.5 * (normal.square().sum(1) + 2 * std::log(2 * M_PI));
  // A change of variables by a constant factor: the difference is the same at every point.
  const Tensor difference = flow->BaseLogProb(flow->BaseFromNoise(normal, Tensor()), Tensor()) - standard;
  EXPECT_LE(MaxAbs(difference - difference[0]), 1e-12);
  EXPECT_GT(MaxAbs(difference), 1e-3);
}

TEST(Flow, ServesUnderInferenceModeWithTheSameNumbers) {
  const auto flow = Build(ParseSpec(kNetworkSpec));
  Randomise(*flow, 0.3);
  const Tensor x = Normal({10, 3}, 1);
  const Tensor expected = flow->LogProb(x, Tensor()).detach();
  const c10::InferenceMode inference;
  EXPECT_TRUE(flow->LogProb(x, Tensor()).equal(expected));
}

TEST(Residual, OfOneColumnTheSeriesIsTheExactLogDet) {
  // A probe is 1 or -1, so its estimate of a 1 x 1 trace has no error.
  const std::string layer = "features: 1 layers { residual { network { hidden: [16, 16] activation: TANH } ";
  const auto exact = Build(ParseSpec(layer + "} }"));
  const auto series = Build(ParseSpec(layer + "exact_trace_features: 0 series_terms: 200 probes: 3 } }"));
  Randomise(*exact, 1);
  Randomise(*series, 1);
  const Tensor x = Normal({100, 1}, 1);
  const Tensor expected = exact->Inverse(x, Tensor()).log_abs_det;
  EXPECT_GT(MaxAbs(expected), 1e-3);
  EXPECT_LE(MaxAbs(series->Inverse(x, Tensor()).log_abs_det - expected), 1e-12);
}

TEST(Residual, TheSeriesIsAnEstimateThatIsTheSameInEveryCallAndFreshInTraining) {
  const std::string layer = "features: 3 layers { residual { network { hidden: [16, 16] activation: TANH } ";
  const auto exact = Build(ParseSpec(layer + "} }"));
  const auto series = Build(ParseSpec(layer + "exact_trace_features: 0 probes: 16 } }"));
  Randomise(*exact, 1);
  Randomise(*series, 1);
  exact->eval();
  series->eval();
  const Tensor x = Normal({30, 3}, 1);
  const Mapped expected = exact->Inverse(x, Tensor());
  const Mapped estimated = series->Inverse(x, Tensor());
  EXPECT_LE(MaxAbs(estimated.value - expected.value), 1e-14);
  EXPECT_LE(MaxAbs(estimated.log_abs_det - expected.log_abs_det), 0.3);
  EXPECT_TRUE(series->Inverse(x, Tensor()).log_abs_det.equal(estimated.log_abs_det));
  EXPECT_LE(MaxAbs(series->Forward(expected.value, Tensor()).value - x), 1e-8);
  series->train();
  EXPECT_FALSE(series->Inverse(x, Tensor()).log_abs_det.equal(series->Inverse(x, Tensor()).log_abs_det));
}

TEST(Residual, InvertsWeightsOfAnySize) {
  const auto flow =
      Build(ParseSpec("features: 4 layers { residual { coefficient: 0.99 network { hidden: [32, 32] } } }"));
  Randomise(*flow, 30);
  const Tensor x = 5 * Normal({100, 4}, 1);
  const Mapped z = flow->Inverse(x, Tensor());
  EXPECT_GT(MaxAbs(z.value - x), 1);
  EXPECT_LE(MaxAbs(flow->Forward(z.value, Tensor()).value - x), 1e-7);
}

TEST(Dropout, ActsInTrainingOnly) {
  const auto flow = Build(
      ParseSpec("features: 3 layers { coupling { conditioner { residual_mlp { dropout: 0.5 activation: TANH } } } }"));
  Randomise(*flow, 0.3);
  const Tensor x = Normal({10, 3}, 1);
  flow->train();
  EXPECT_FALSE(flow->LogProb(x, Tensor()).equal(flow->LogProb(x, Tensor())));
  flow->eval();
  EXPECT_TRUE(flow->LogProb(x, Tensor()).equal(flow->LogProb(x, Tensor())));
}

TEST(ActNorm, StartsFromDataOnce) {
  const auto flow = Build(ParseSpec("features: 3 layers { elementwise {} } layers { actnorm {} }"));
  const Tensor x = Normal({200, 3}, 1) * 4 + 9;
  flow->InitializeFromData(x, Tensor());
  const Tensor z = flow->Inverse(x, Tensor()).value;
  EXPECT_LE(MaxAbs(z.mean(0)), 1e-12);
  EXPECT_LE(MaxAbs(z.std(0, /*unbiased=*/false) - 1), 1e-12);
  EXPECT_EQ(flow->named_buffers()["layers.1.initialized"].item<double>(), 1);
  flow->InitializeFromData(x * 2, Tensor());
  EXPECT_TRUE(flow->Inverse(x, Tensor()).value.equal(z));
}

TEST(FullAffine, StartsAtTheMaximumLikelihoodNormalDistribution) {
  const auto flow = Build(ParseSpec("features: 3 layers { full_affine {} }"));
  const Tensor mixing = torch::tensor({{2.0, 0.0, 1.0}, {-0.5, 0.3, 0.0}, {0.0, 1.0, 4.0}}, torch::kFloat64);
  const Tensor x = torch::matmul(Normal({500, 3}, 1), mixing) + 5;
  flow->InitializeFromData(x, Tensor());
  const Tensor z = flow->Inverse(x, Tensor()).value;
  EXPECT_LE(MaxAbs(z.mean(0)), 1e-9);
  EXPECT_LE(MaxAbs(torch::matmul(z.t(), z) / 500 - torch::eye(3, torch::kFloat64)), 1e-9);
  // The mean log-likelihood of the maximum-likelihood normal is -(D (1 + log 2 pi) + log det covariance) / 2.
  const Tensor centred = x - x.mean(0);
  const double log_det = torch::matmul(centred.t(), centred).div(500).logdet().item<double>();
  const double expected = -0.5 * (3 * (1 + std::log(2 * M_PI)) + log_det);
  EXPECT_NEAR(flow->LogProb(x, Tensor()).mean().item<double>(), expected, 1e-9);
}

TEST(FullAffine, StaysAsItIsWhereTheCovarianceIsSingular) {
  const auto flow = Build(ParseSpec("features: 3 layers { full_affine {} }"));
  const Tensor x = Normal({2, 3}, 1);
  flow->InitializeFromData(x, Tensor());
  EXPECT_LE(MaxAbs(flow->Inverse(x, Tensor()).value - x), 1e-14);
}

TEST(FitStandardize, FitsEveryLayerOnTheRowsThatReachIt) {
  const auto spec = ParseSpec(
      "features: 2 context_features: 1 context_preprocessing {} layers { standardize {} }"
      "layers { bijection { kind: AFFINE scale: 4 } } layers { standardize { mean: [0, 0] } }");
  const Tensor x = Normal({100, 2}, 1).exp();
  const Tensor context = Normal({100, 1}, 2) * 3 + 7;
  const auto fitted = FitStandardize(spec, x, context);
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_NEAR(fitted->context_preprocessing().mean(0), context.mean().item<double>(), 1e-12);
  EXPECT_NEAR(fitted->layers(0).standardize().scale(1), x.std(0, false)[1].item<double>(), 1e-12);
  // Standardised, divided by four.
  EXPECT_NEAR(fitted->layers(2).standardize().scale(0), 0.25, 1e-12);
  EXPECT_EQ(fitted->layers(2).standardize().mean(0), 0);
  const Tensor z = Build(*fitted)->Inverse(x, context).value;
  EXPECT_LE(MaxAbs(z.std(0, false) - 1), 1e-12);
}

TEST(FitStandardize, TakesIntegersWithoutTheirNoise) {
  const auto spec = ParseSpec(
      "features: 1 layers { preprocessing { columns { kind: INTEGER scaling: NONE } } } layers { standardize {} }");
  const auto fitted = FitStandardize(spec, torch::tensor({{1.0}, {2.0}, {6.0}}, torch::kFloat64), Tensor());
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  EXPECT_NEAR(fitted->layers(1).standardize().mean(0), 3.5, 1e-12);
}

TEST(FitStandardize, NamesTheConstantColumnAndTheRowOutsideTheSupport) {
  const auto constant = FitStandardize(ParseSpec("features: 2 layers { standardize {} }"),
                                       torch::stack({Normal({9}, 1), torch::ones({9}, torch::kFloat64)}, 1), Tensor());
  EXPECT_THAT(Message(constant.status()), StartsWith("spec.layers[0].standardize: column 1 is constant"));
  const auto outside =
      FitStandardize(ParseSpec("features: 1 layers { bijection { kind: EXP } } layers { standardize {} }"),
                     torch::tensor({{1.0}, {2.0}, {-3.0}}, torch::kFloat64), Tensor());
  EXPECT_EQ(outside.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(outside.status()), HasSubstr("row 2"));
}

}  // namespace
}  // namespace densityd::flow
