#include "tests/flow/transform_cases.h"

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace densityd::flow {
namespace {

const std::string kSmallMlp = "conditioner { mlp { hidden: [12, 9] activation: TANH } }";
const std::string kResidual = "conditioner { residual_mlp { hidden: 12 blocks: 2 activation: SILU } }";

std::string Coupling(const std::string& fields) { return "layers { coupling { " + fields + " } }"; }
std::string Autoregressive(const std::string& fields) { return "layers { autoregressive { " + fields + " } }"; }
std::string Bijection(const std::string& fields) { return "layers { bijection { " + fields + " } }"; }

}  // namespace

std::vector<TransformCase> TransformCases() {
  const std::string shift = "univariate { shift {} } ";
  std::vector<TransformCase> cases = {
      {"ElementwiseAffine", "layers { elementwise {} }"},
      {"ElementwiseShift", "layers { elementwise { univariate { shift {} } } }"},
      {"ElementwiseOfContext", "layers { elementwise { " + kSmallMlp + " } }", 4, 3},
      {"ElementwiseBesideContext", "layers { elementwise {} }", 4, 3},
      {"CouplingAffine", Coupling(kSmallMlp)},
      {"CouplingAffineContext", Coupling(kSmallMlp), 4, 3},
      {"CouplingShift", Coupling(shift + kResidual)},
      {"CouplingResidualContext", Coupling(kResidual), 5, 2},
      {"CouplingExplicitMask", Coupling("mask { transformed: [3, 0, 1] } " + kSmallMlp), 5},
      {"CouplingTightScale", Coupling("univariate { affine { max_log_scale: 0.5 } } " + kSmallMlp)},
      {"Maf", Autoregressive(kSmallMlp)},
      {"MafContext", Autoregressive(kSmallMlp), 4, 3},
      {"MafReversedResidual", Autoregressive("order: REVERSED " + kResidual), 5},
      {"MafGivenOrderResidualContext", Autoregressive("columns: [2, 0, 3, 1] " + kResidual), 4, 2},
      {"MafShift", Autoregressive(shift + kSmallMlp)},
      {"MafOneColumnContext", Autoregressive(kSmallMlp), 1, 2},
      {"MafOneColumn", Autoregressive(kSmallMlp), 1},
      {"Iaf", Autoregressive("parallel: SAMPLING " + kSmallMlp)},
      {"IafReversedContext", Autoregressive("parallel: SAMPLING order: REVERSED " + kResidual), 4, 3},
      {"LuLinear", "layers { lu_linear {} }"},
      {"LuLinearOneColumn", "layers { lu_linear {} }", 1},
      {"ActNorm", "layers { actnorm {} }"},
      {"FullAffine", "layers { full_affine {} }"},
      {"Householder", "layers { householder {} }", 5},
      {"HouseholderTwoReflections", "layers { householder { reflections: 2 } }", 4},
      {"Rotation", "layers { orthogonal {} }", 5},
      {"RotationCayley", "layers { orthogonal { map: CAYLEY } }", 4},
      {"RotationOfTwoColumns", "layers { orthogonal {} }", 2},
      {"Planar", "layers { planar {} }", 5},
      {"PlanarSampling", "layers { planar { parallel: SAMPLING } }", 4},
      {"PlanarOfContext", "layers { planar { " + kSmallMlp + " } }", 3, 2},
      {"PlanarOneColumn", "layers { planar {} }", 1},
      {"Radial", "layers { radial {} }", 5},
      {"RadialSampling", "layers { radial { parallel: SAMPLING } }", 4},
      {"RadialOfContext", "layers { radial { " + kSmallMlp + " } }", 3, 2},
      {"RadialOneColumn", "layers { radial {} }", 1},
      {"Sylvester", "layers { sylvester {} }", 5},
      {"SylvesterOfTwoUnits", "layers { sylvester { hidden: 2 } }", 4},
      {"SylvesterSampling", "layers { sylvester { parallel: SAMPLING hidden: 3 } }", 4},
      {"SylvesterOneColumn", "layers { sylvester {} }", 1},
      {"Residual", "layers { residual { network { hidden: [12, 9] } } }"},
      {"ResidualOfContext", "layers { residual { network { hidden: [10] activation: TANH } } }", 3, 2},
      {"ResidualGelu", "layers { residual { coefficient: 0.97 network { hidden: [8, 8] activation: GELU } } }", 5},
      {"ResidualSilu", "layers { residual { network { hidden: [8, 7, 6] activation: SILU } } }"},
      {"ResidualRelu", "layers { residual { network { hidden: [16] activation: RELU } } }"},
      {"ResidualLeakyRelu", "layers { residual { network { hidden: [16] activation: LEAKY_RELU } } }"},
      {"ResidualOneColumn", "layers { residual { tolerance: 1e-8 network { hidden: [8] } } }", 1},
      {"BaseStudentT", "layers { actnorm {} } base { student_t {} }"},
      {"BaseStudentTOfGivenDegrees", "layers { actnorm {} } base { student_t { degrees: 4 } }"},
      {"BaseMixture", "layers { actnorm {} } base { gaussian_mixture {} }"},
      {"BaseOfContext", "layers { actnorm {} } base { conditional_diagonal_normal { " + kSmallMlp + " } }", 4, 3},
      {"BaseProduct",
       "layers { actnorm {} } base { product { groups { columns: [3, 1] base { gaussian_mixture {} } }"
       "groups { columns: [0, 2] base { student_t {} } } } }"},
      {"PermutationReverse", "layers { permutation {} }", 4, 0, Support::kReal, false},
      {"PermutationRandom", "layers { permutation { kind: RANDOM seed: 3 } }", 6, 0, Support::kReal, false},
      {"PermutationGiven", "layers { permutation { columns: [2, 0, 1] } }", 3, 0, Support::kReal, false},
      {"Standardize", "layers { standardize { mean: [1, -2, 30] scale: [0.5, 4, 7] } }", 3, 0, Support::kReal, false},
      {"Affine", Bijection("kind: AFFINE scale: -2.5 shift: 0.7"), 3, 0, Support::kReal, false},
      {"Exp", Bijection("kind: EXP"), 3, 0, Support::kPositive, false},
      {"Log", Bijection("kind: LOG") + Bijection("kind: AFFINE scale: 2") + Bijection("kind: EXP"), 3, 0,
       Support::kModerate, false},
      {"Sigmoid", Bijection("kind: SIGMOID"), 3, 0, Support::kUnit, false},
      {"SigmoidAlpha", Bijection("kind: SIGMOID alpha: 0.05"), 3, 0, Support::kUnit, false},
      {"Logit", Bijection("kind: LOGIT") + Bijection("kind: AFFINE scale: -1 shift: 1") + Bijection("kind: SIGMOID"), 3,
       0, Support::kModerate, false},
      {"LogitAlpha", Bijection("kind: LOGIT alpha: 0.1") + Bijection("kind: SIGMOID alpha: 0.1"), 3, 0,
       Support::kModerate, false},
      {"Softplus", Bijection("kind: SOFTPLUS"), 3, 0, Support::kPositive, false},
      {"Tanh", Bijection("kind: TANH"), 3, 0, Support::kSymmetric, false},
      {"LeakyRelu", Bijection("kind: LEAKY_RELU_BIJECTION slope: 0.3"), 3, 0, Support::kReal, false},
      {"SomeColumns", Bijection("kind: AFFINE scale: 3 columns: [2, 0]"), 4, 0, Support::kReal, false},
  };
  const auto columns = [](const std::vector<std::string>& list) {
    std::string text = "layers { preprocessing { ";
    for (const std::string& column : list) text += "columns { kind: CONTINUOUS " + column + " } ";
    return text + "} }";
  };
  const std::string power = "scaling: YEO_JOHNSON scale: 2 center: 0.3 power: ";
  cases.insert(
      cases.end(),
      {{"ColumnsLinear",
        columns({"scaling: STANDARD center: 3 scale: 2", "scaling: ROBUST center: -1 scale: 0.5", "scaling: NONE"}), 3,
        0, Support::kReal, false},
       {"ColumnsLog", columns({"scaling: LOG center: 0.2 scale: 1.5", "scaling: LOG low: -3 center: 0 scale: 0.7"}), 2,
        0, Support::kPositive, false},
       {"ColumnsLogit",
        columns({"scaling: LOGIT low: 0 high: 1 center: 0 scale: 1.5",
                 "scaling: LOGIT low: -1 high: 2 center: 0.2 scale: 1"}),
        2, 0, Support::kUnit, false},
       {"ColumnsYeoJohnson", columns({power + "0", power + "0.4", power + "1", power + "1.3", power + "2"}), 5, 0,
        Support::kReal, false},
       {"ColumnsMixed",
        columns({power + "0.5", "scaling: STANDARD center: 1 scale: 2", "scaling: LOG center: 0 scale: 1",
                 "scaling: LOGIT high: 1 low: 0 center: 0 scale: 2"}) +
            Coupling(kSmallMlp),
        4, 2, Support::kUnit, false}});
  const auto all = [](const std::string& column, int count) {
    std::string text = "layers { preprocessing { ";
    for (int i = 0; i < count; ++i) text += "columns { " + column + " } ";
    return text + "} } ";
  };
  const std::string circular =
      "univariate { rational_quadratic_spline { bound: 3.141592653589793 circular: [0, 1] } } ";
  cases.insert(
      cases.end(),
      {{"ColumnsInteger", all("kind: INTEGER scaling: STANDARD center: 0.5 scale: 3", 3), 3, 0, Support::kWhole, false},
       {"ColumnsIntegerYeoJohnson", all("kind: INTEGER " + power + "0.7", 2), 2, 0, Support::kWhole, false},
       {"ColumnsIntegerRobustThenCoupling",
        all("kind: INTEGER scaling: ROBUST center: -1 scale: 2", 4) + Coupling(kSmallMlp), 4, 2, Support::kWhole,
        false},
       {"ColumnsCount", all("kind: INTEGER scaling: LOG low: 0 center: 0.3 scale: 0.7", 3), 3, 0, Support::kCount,
        false},
       {"ColumnsDigit", all("kind: INTEGER scaling: LOGIT low: 0 high: 9 center: 0.1 scale: 2", 3), 3, 0,
        Support::kDigit, false},
       {"ColumnsCategorical", all("kind: CATEGORICAL categories: [2, -1, 7.5, 4] center: 0 scale: 1.5", 3), 3, 0,
        Support::kCode, false},
       {"ColumnsCategoricalThenMaf",
        all("kind: CATEGORICAL categories: [2, -1, 7.5, 4] center: 0 scale: 1.5", 4) + Autoregressive(kSmallMlp), 4, 2,
        Support::kCode, false},
       {"ColumnsCircular",
        all("kind: CIRCULAR low: 0 high: 360 scaling: NONE", 2) + Autoregressive(circular + kSmallMlp) +
            "base { uniform_box { low: -3.141592653589793 high: 3.141592653589793 } }",
        2, 2, Support::kTurn, false, 20}});
  const std::string spline = "univariate { rational_quadratic_spline {} } ";
  const std::vector<TransformCase> spline_cases = {
      {"ElementwiseSpline", "layers { elementwise { " + spline + " } }"},
      {"ElementwiseSplineOfContext", "layers { elementwise { " + spline + kSmallMlp + " } }", 4, 3},
      {"CouplingSpline", Coupling(spline + kSmallMlp)},
      {"CouplingSplineContext", Coupling(spline + kResidual), 5, 2},
      {"MafSpline", Autoregressive(spline + kSmallMlp)},
      {"MafSplineContext", Autoregressive("order: REVERSED " + spline + kResidual), 4, 3},
      {"IafSpline", Autoregressive("parallel: SAMPLING " + spline + kSmallMlp)},
      {"SplineOfTwoBins",
       Autoregressive("univariate { rational_quadratic_spline { bins: 2 bound: 1.5 } } " + kSmallMlp)},
      {"SplineOfManyBins", Coupling("univariate { rational_quadratic_spline { bins: 33 bound: 7 } } " + kSmallMlp)},
  };
  const std::string circles = "univariate { rational_quadratic_spline { bound: 3.1 circular: [0, 2] } } ";
  const std::string all_circles = "univariate { rational_quadratic_spline { circular: [0, 1, 2, 3] } } ";
  const std::string half_turns =
      "univariate { rational_quadratic_spline { bound: 3.1 circular: [0, 2] circle: HALF_TURN parameterization: "
      "SOFT_CLIP } } ";
  const std::vector<TransformCase> circle_cases = {
      {"ElementwiseCircles", "layers { elementwise { " + all_circles + " } }"},
      {"ElementwiseSomeCircles", "layers { elementwise { " + circles + kSmallMlp + " } }", 3, 2},
      {"CouplingCircles", Coupling(circles + kSmallMlp), 5},
      {"CouplingAllCircles", Coupling("mask { pattern: SECOND_HALF } " + all_circles + kResidual), 4, 2},
      {"MafCircles", Autoregressive("columns: [2, 0, 3, 1] " + circles + kSmallMlp)},
      {"IafCircles", Autoregressive("parallel: SAMPLING " + circles + kResidual), 4, 2},
      {"MafHalfTurns", Autoregressive("columns: [2, 0, 3, 1] " + half_turns + kSmallMlp)},
      {"IafHalfTurns", Autoregressive("parallel: SAMPLING " + half_turns + kResidual), 4, 2},
      {"CouplingHalfTurns", Coupling(half_turns + kSmallMlp), 5},
      {"CouplingSplineOfPassed",
       Coupling(spline + "passed_univariate { rational_quadratic_spline { bins: 5 } } " + kSmallMlp)},
      {"CouplingAffineOfPassed", Coupling("passed_univariate { affine {} } " + kResidual), 5, 2},
  };
  cases.insert(cases.end(), circle_cases.begin(), circle_cases.end());
  for (size_t i = cases.size() - circle_cases.size(); i < cases.size(); ++i) {
    cases[i].float32_factor = 20;
    cases[i].starts_as_identity = cases[i].name.find("HalfTurns") == std::string::npos;
  }
  for (const TransformCase& spline_case : spline_cases) {
    cases.push_back(spline_case);
    cases.back().float32_factor = 20;
  }
  for (const std::string options :
       {"direction: INVERSE", "scale_function: SOFT_CLIP max_log_scale: 6.9077552789821371 direction: INVERSE",
        "scale_function: EXP", "scale_function: EXP direction: INVERSE", "scale_function: SOFTPLUS direction: INVERSE",
        "scale_function: SOFTPLUS reciprocal_scale: true", "scale_function: SIGMOID",
        "scale_function: SIGMOID min_scale: 0 max_scale: 2 reciprocal_scale: true"}) {
    const std::string affine = "univariate { affine { " + options + " } } ";
    cases.push_back({"CouplingAffineOption" + std::to_string(cases.size()), Coupling(affine + kSmallMlp)});
    cases.push_back({"MafOption" + std::to_string(cases.size()), Autoregressive(affine + kSmallMlp), 4, 3});
  }
  for (const std::string options :
       {"parameterization: SOFT_CLIP", "parameterization: SOFT_CLIP min_slope: 0.1 bound: 5",
        "min_width: 0.1 min_height: 0 min_slope: 0.3"}) {
    const std::string option = "univariate { rational_quadratic_spline { " + options + " } } ";
    cases.push_back({"CouplingSplineOption" + std::to_string(cases.size()), Coupling(option + kSmallMlp)});
    cases.back().float32_factor = 20;
  }
  const std::string normal = "univariate { mixture_cdf { components: 5 } } ";
  const std::string logistic = "univariate { mixture_cdf { components: 4 family: LOGISTIC layers: 2 } } ";
  const std::vector<TransformCase> mixture_cases = {
      {"ElementwiseGaussianization", "layers { elementwise { " + normal + " } }"},
      {"GaussianizationOfContext", "layers { elementwise { " + normal + kSmallMlp + " } }", 4, 3},
      {"GaussianizationOfManyComponents", "layers { elementwise { univariate { mixture_cdf { components: 40 } } } }",
       2},
      {"CouplingGaussianization", Coupling(normal + kSmallMlp)},
      {"CouplingSigmoidal", Coupling(logistic + kResidual), 5, 2},
      {"Naf", Autoregressive(logistic + kSmallMlp)},
      {"NafSampling", Autoregressive("parallel: SAMPLING " + logistic + kSmallMlp), 3},
      {"NafOfTightScale",
       Autoregressive("univariate { mixture_cdf { components: 2 family: LOGISTIC layers: 4 max_log_scale: 1 } } " +
                      kSmallMlp),
       3, 2},
  };
  for (const TransformCase& mixture_case : mixture_cases) {
    cases.push_back(mixture_case);
    cases.back().starts_as_identity = false;
  }
  const auto image = [](int channels, int height, int width, const std::string& layers) {
    return "image { channels: " + std::to_string(channels) + " height: " + std::to_string(height) +
           " width: " + std::to_string(width) + " } " + layers;
  };
  const std::string conv = "conditioner { conv_resnet { channels: 6 blocks: 1 activation: TANH } } ";
  const std::string deep_conv = "conditioner { conv_resnet { channels: 5 blocks: 2 activation: SILU } } ";
  const std::string checkerboard = "mask { pattern: CHECKERBOARD_EVEN } ";
  const std::string channels = "mask { pattern: LAST_CHANNELS } ";
  const std::string split = "layers { split { " + kSmallMlp + " } } ";
  const std::string step =
      "layers { actnorm { per_channel: true } } layers { invertible_convolution {} } " + Coupling(channels + conv);
  cases.insert(
      cases.end(),
      {{"Squeeze", image(2, 4, 2, "layers { squeeze {} }"), 16, 0, Support::kReal, false},
       {"ChannelActNorm", image(3, 2, 2, "layers { actnorm { per_channel: true } }"), 12},
       {"InvertibleConvolution", image(3, 2, 3, "layers { invertible_convolution {} }"), 18},
       {"InvertibleConvolutionPermuted",
        image(4, 1, 2, "layers { invertible_convolution { permutation { columns: [2, 0, 3, 1] } } }"), 8, 0,
        Support::kReal, false},
       {"InvertibleConvolutionOneChannel", image(1, 2, 2, "layers { invertible_convolution {} }"), 4},
       {"CheckerboardConv", image(2, 4, 4, Coupling(checkerboard + conv)), 32},
       {"CheckerboardConvContext", image(1, 3, 4, Coupling(checkerboard + deep_conv)), 12, 3},
       {"CheckerboardMlp", image(2, 2, 2, Coupling(checkerboard + kSmallMlp)), 8},
       {"ChannelConv", image(3, 4, 2, Coupling(channels + conv)), 24},
       {"ChannelConvContext", image(2, 2, 2, Coupling("mask { pattern: FIRST_CHANNELS } " + deep_conv)), 8, 2},
       {"ConvOfSomeColumns", image(3, 2, 2, Coupling("mask { transformed: [1, 2, 11] } " + conv)), 12, 2},
       {"ConvShift", image(2, 2, 2, Coupling(channels + shift + conv)), 8},
       {"ConvAffineOfPassed", image(2, 2, 2, Coupling("passed_univariate { affine {} } " + channels + conv)), 8},
       {"SplitOfColumns", split, 5},
       {"SplitOfColumnsContext", split, 4, 3},
       {"SplitsOfColumns", split + split + "layers { lu_linear {} }", 7},
       {"SplitOfChannels", image(3, 2, 2, "layers { split { " + conv + " } } " + step), 12},
       {"SplitOfChannelsContext", image(4, 2, 1, "layers { split { " + deep_conv + " } } "), 8, 2},
       {"MultiScale",
        image(1, 4, 4,
              Coupling(checkerboard + conv) + "layers { squeeze {} }" + step + "layers { split { " + conv + " } }" +
                  "layers { squeeze {} }" + step + "base { diagonal_normal {} }"),
        16, 2, Support::kReal, false}});
  const std::vector<TransformCase> conv_splines = {
      {"ConvSpline", image(2, 2, 2, Coupling(channels + spline + conv)), 8},
      {"ConvSplineCheckerboard", image(1, 2, 4, Coupling(checkerboard + spline + conv)), 8, 2}};
  for (const TransformCase& conv_spline : conv_splines) {
    cases.push_back(conv_spline);
    cases.back().float32_factor = 20;
  }
  // The promises hold for any tolerance up to its size.
  const std::string exact = "atol: 1e-11 rtol: 1e-11 ";
  const auto continuous = [&](const std::string& fields) { return "layers { continuous { " + exact + fields + " } }"; };
  const std::vector<TransformCase> continuous_cases = {
      {"Continuous", continuous("network { hidden: [12, 9] }")},
      {"ContinuousOfContext", continuous("network { hidden: [10] activation: SILU }"), 3, 2},
      {"ContinuousDeep", continuous("network { hidden: [8, 7, 6] }"), 5},
      {"ContinuousDeepGelu", continuous("network { hidden: [8, 7, 6, 5] activation: GELU }"), 3, 2},
      {"ContinuousFrequencies", continuous("time_frequencies: 2 network { hidden: [8, 8] activation: SILU }"), 2},
      {"ContinuousOneColumn", continuous("network { hidden: [8] }"), 1},
  };
  for (const TransformCase& continuous_case : continuous_cases) {
    cases.push_back(continuous_case);
    // In float32 the tolerance is 16 spacings.
    cases.back().float32_factor = 10;
  }
  const std::string numbers =
      "columns { kind: CONTINUOUS scaling: STANDARD center: 0.5 scale: 2 accept_missing: true }";
  const std::string angles = "columns { kind: CIRCULAR low: 0 high: 360 }";
  const std::string codes = "columns { kind: CATEGORICAL categories: [2, -1, 7.5] embedding: 3 accept_unknown: true }";
  const auto encoded = [](const std::string& columns) { return "context_encoding { " + columns + " } "; };
  cases.insert(cases.end(),
               {{"ContextOfNumbers", encoded(numbers + numbers) + Coupling(kSmallMlp), 4, 2},
                {"ContextOfAnglesAndCategories", encoded(angles + codes) + Autoregressive(kSmallMlp), 4, 2},
                {"ContextOfEveryKind",
                 encoded(numbers + angles + codes) + Coupling(kResidual) + Autoregressive(kSmallMlp) +
                     "base { conditional_diagonal_normal { " + kSmallMlp + " } }",
                 3, 3}});
  for (const std::string bound : {"bound: 1", "bound: 1 parameterization: SOFT_CLIP"}) {
    cases.push_back({"BaseUniformBox" + std::to_string(cases.size()),
                     "layers { elementwise { univariate { rational_quadratic_spline { " + bound +
                         " } } } } base { uniform_box { low: -1 high: 1 } }",
                     3, 0, Support::kSymmetric, true, 20});
  }
  for (const std::string activation : {"RELU", "GELU", "LEAKY_RELU", "ELU"}) {
    cases.push_back({"Activation_" + activation,
                     Autoregressive("conditioner { mlp { hidden: [16] activation: " + activation + " } }")});
  }
  cases.push_back({"Chain",
                   "layers { standardize { mean: [1, 2, 3, 4] scale: [1, 2, 3, 4] } } layers { actnorm {} }" +
                       Coupling(kSmallMlp) + "layers { lu_linear {} }" + Autoregressive(kResidual) +
                       "layers { permutation {} }" + Autoregressive("parallel: SAMPLING " + kSmallMlp) +
                       "base { diagonal_normal {} }",
                   4, 2, Support::kReal, false});
  return cases;
}

density::v1::FlowSpec SpecOf(const TransformCase& test_case) {
  density::v1::FlowSpec spec;
  const std::string text = "features: " + std::to_string(test_case.features) +
                           " context_features: " + std::to_string(test_case.context) + " " + test_case.layers;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

const std::vector<double>& Codes() {
  static const auto& codes = *new std::vector<double>{2, -1, 7.5, 4};
  return codes;
}

std::vector<double> Extremes(Support support) {
  const std::vector<double> small = {1e-30, 1e-12, 1e-3, 0.4, 0.999};
  const std::vector<double> large = {10, 1e3, 1e6};
  std::vector<double> numbers;
  switch (support) {
    case Support::kCount:
      return {0, 1, 10, 1e6};
    case Support::kDigit:
      return {0, 1, 9};
    case Support::kCode:
      return Codes();
    case Support::kTurn:
      return {0, 1e-30, 0.4, 90, 359.99, 360};
    case Support::kWhole:
      return {0, 1, -1, 1e3, -1e3, 1e6, -1e6};
    default:
      break;
  }
  numbers = small;
  if (support == Support::kReal || support == Support::kPositive) {
    numbers.insert(numbers.end(), large.begin(), large.end());
  }
  if (support == Support::kPositive || support == Support::kUnit) return numbers;
  const size_t positive = numbers.size();
  for (size_t i = 0; i < positive; ++i) numbers.push_back(-numbers[i]);
  return numbers;
}

}  // namespace densityd::flow
