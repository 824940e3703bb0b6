// A wrong spec is refused with the path of the field; a right one is completed and measured.
#include "server/flow/spec.h"

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace densityd::flow {
namespace {

using density::v1::FlowSpec;
using google::protobuf::TextFormat;
using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;
using testing::StartsWith;

FlowSpec Parse(const std::string& text) {
  FlowSpec spec;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

struct BadSpec {
  std::string name;
  std::string spec;
  std::string path;     // what the message starts with
  std::string message;  // what it says
};

class BadSpecTest : public testing::TestWithParam<BadSpec> {};

TEST_P(BadSpecTest, IsRefusedWithThePathOfTheField) {
  const absl::Status status = CheckFlowSpec(Parse(GetParam().spec));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), StartsWith(GetParam().path + ": "));
  EXPECT_THAT(Message(status), HasSubstr(GetParam().message));
}

std::string Layer(const std::string& layer) { return "features: 3 context_features: 2 layers { " + layer + " }"; }

std::string Image(int channels, int height, int width, const std::string& layer) {
  return absl::StrCat("features: ", channels * height * width, " image { channels: ", channels, " height: ", height,
                      " width: ", width, " } layers { ", layer, " }");
}

// A preprocessing whose middle column is `column`.
std::string Column(const std::string& column) {
  return Layer("preprocessing { columns {} columns { " + column + " } columns {} }") + " layers { actnorm {} }";
}

const std::string kColumn = "spec.layers[0].preprocessing.columns[1]";

const BadSpec kBadSpecs[] = {
    {"NoFeatures", "layers { actnorm {} }", "spec.features", "is 0"},
    {"TooManyFeatures", "features: 65537 layers { actnorm {} }", "spec.features", "65536"},
    {"TooMuchContext", "features: 1 context_features: 65537 layers { actnorm {} }", "spec.context_features", "65536"},
    {"NoLayers", "features: 1", "spec.layers", "has 0 layers"},
    {"LayerWithoutKind", "features: 3 layers { actnorm {} } layers {}", "spec.layers[1]", "set one of standardize"},
    {"MeanOfWrongSize", Layer("standardize { mean: [1, 2] }"), "spec.layers[0].standardize.mean", "has 2 numbers"},
    {"MeanNotFinite", Layer("standardize { mean: [1, nan, 2] }"), "spec.layers[0].standardize.mean[1]", "finite"},
    {"ScaleZero", Layer("standardize { scale: [1, 2, 0] }"), "spec.layers[0].standardize.scale[2]", "> 0"},
    {"LogScaleTooLarge", Layer("elementwise { univariate { affine { max_log_scale: 17 } } }"),
     "spec.layers[0].elementwise.univariate.affine.max_log_scale", "(0, 16]"},
    {"LogScaleNegative", Layer("autoregressive { univariate { affine { max_log_scale: -1 } } }"),
     "spec.layers[0].autoregressive.univariate.affine.max_log_scale", "(0, 16]"},
    {"LogScaleNaN", Layer("coupling { univariate { affine { max_log_scale: nan } } }"),
     "spec.layers[0].coupling.univariate.affine.max_log_scale", "(0, 16]"},
    {"LogScaleOfAFunctionWithout", Layer("coupling { univariate { affine { scale_function: EXP max_log_scale: 2 } } }"),
     "spec.layers[0].coupling.univariate.affine.max_log_scale", "belongs to TANH and SOFT_CLIP"},
    {"ScaleFunctionUnknown", Layer("coupling { univariate { affine { scale_function: 9 } } }"),
     "spec.layers[0].coupling.univariate.affine.scale_function", "9"},
    {"AffineDirectionUnknown", Layer("coupling { univariate { affine { direction: 9 } } }"),
     "spec.layers[0].coupling.univariate.affine.direction", "9"},
    {"MinScaleOfTanh", Layer("coupling { univariate { affine { min_scale: 0.1 } } }"),
     "spec.layers[0].coupling.univariate.affine.min_scale", "belongs to SOFTPLUS and SIGMOID"},
    {"MinScaleTooLarge", Layer("coupling { univariate { affine { scale_function: SOFTPLUS min_scale: 1 } } }"),
     "spec.layers[0].coupling.univariate.affine.min_scale", "[0, 1)"},
    {"MaxScaleOfSoftplus", Layer("coupling { univariate { affine { scale_function: SOFTPLUS max_scale: 2 } } }"),
     "spec.layers[0].coupling.univariate.affine.max_scale", "belongs to SIGMOID"},
    {"MaxScaleTooSmall", Layer("coupling { univariate { affine { scale_function: SIGMOID max_scale: 1 } } }"),
     "spec.layers[0].coupling.univariate.affine.max_scale", "(1, 1000]"},
    {"SplineParameterizationUnknown",
     Layer("coupling { univariate { rational_quadratic_spline { parameterization: 9 } } }"),
     "spec.layers[0].coupling.univariate.rational_quadratic_spline.parameterization", "9"},
    {"MinWidthTooLarge", Layer("coupling { univariate { rational_quadratic_spline { bins: 4 min_width: 0.25 } } }"),
     "spec.layers[0].coupling.univariate.rational_quadratic_spline.min_width", "[0, 0.25)"},
    {"MinHeightNegative", Layer("coupling { univariate { rational_quadratic_spline { min_height: -0.1 } } }"),
     "spec.layers[0].coupling.univariate.rational_quadratic_spline.min_height", "[0, 0.125)"},
    {"MinHeightOfSoftClip",
     Layer("coupling { univariate { rational_quadratic_spline { parameterization: SOFT_CLIP min_height: 0.1 } } }"),
     "spec.layers[0].coupling.univariate.rational_quadratic_spline.min_height", "belongs to SOFTPLUS"},
    {"MinSlopeZero", Layer("coupling { univariate { rational_quadratic_spline { min_slope: 0 } } }"),
     "spec.layers[0].coupling.univariate.rational_quadratic_spline.min_slope", "1)"},
    {"OneBin", Layer("coupling { univariate { rational_quadratic_spline { bins: 1 } } }"),
     "spec.layers[0].coupling.univariate.rational_quadratic_spline.bins", "2 … 64"},
    {"TooManyBins", Layer("elementwise { univariate { rational_quadratic_spline { bins: 65 } } }"),
     "spec.layers[0].elementwise.univariate.rational_quadratic_spline.bins", "2 … 64"},
    {"SplineBoundNaN", Layer("autoregressive { univariate { rational_quadratic_spline { bound: nan } } }"),
     "spec.layers[0].autoregressive.univariate.rational_quadratic_spline.bound", "[0.001, 1000]"},
    {"MaskColumnOutOfRange", Layer("coupling { mask { transformed: [0, 3] } }"),
     "spec.layers[0].coupling.mask.transformed[1]", "columns are 0 … 2"},
    {"MaskColumnTwice", Layer("coupling { mask { transformed: [1, 1] } }"),
     "spec.layers[0].coupling.mask.transformed[1]", "listed twice"},
    {"MaskOfAllColumns", Layer("coupling { mask { transformed: [0, 1, 2] } }"), "spec.layers[0].coupling.mask",
     "at least one must pass"},
    {"MaskOfNoColumn", "features: 1 layers { coupling {} }", "spec.layers[0].coupling.mask", "at least one must be"},
    {"MaskPatternUnknown", Layer("coupling { mask { pattern: 9 } }"), "spec.layers[0].coupling.mask.pattern", "9"},
    {"ZeroWidth", Layer("coupling { conditioner { mlp { hidden: [8, 0] } } }"),
     "spec.layers[0].coupling.conditioner.mlp.hidden[1]", "is 0"},
    {"WidthTooLarge", Layer("autoregressive { conditioner { mlp { hidden: 8193 } } }"),
     "spec.layers[0].autoregressive.conditioner.mlp.hidden[0]", "8192"},
    {"TooManyHiddenLayers", Layer("coupling { conditioner { mlp { hidden: [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1] } } }"),
     "spec.layers[0].coupling.conditioner.mlp.hidden", "limit is 16"},
    {"ActivationUnknown", Layer("elementwise { conditioner { mlp { activation: 77 } } }"),
     "spec.layers[0].elementwise.conditioner.mlp.activation", "77"},
    {"ResidualWidthTooLarge", Layer("coupling { conditioner { residual_mlp { hidden: 9000 } } }"),
     "spec.layers[0].coupling.conditioner.residual_mlp.hidden", "8192"},
    {"TooManyBlocks", Layer("coupling { conditioner { residual_mlp { blocks: 65 } } }"),
     "spec.layers[0].coupling.conditioner.residual_mlp.blocks", "limit is 64"},
    {"DropoutOne", Layer("coupling { conditioner { residual_mlp { dropout: 1 } } }"),
     "spec.layers[0].coupling.conditioner.residual_mlp.dropout", "[0, 1)"},
    {"OrderTooShort", Layer("autoregressive { columns: [0, 1] }"), "spec.layers[0].autoregressive.columns",
     "has 2 entries"},
    {"OrderRepeats", Layer("autoregressive { columns: [0, 1, 1] }"), "spec.layers[0].autoregressive.columns[2]",
     "listed twice"},
    {"OrderUnknown", Layer("autoregressive { order: 5 }"), "spec.layers[0].autoregressive.order", "5"},
    {"DirectionUnknown", Layer("autoregressive { parallel: 5 }"), "spec.layers[0].autoregressive.parallel", "5"},
    {"PermutationOutOfRange", Layer("permutation { columns: [0, 1, 7] }"), "spec.layers[0].permutation.columns[2]",
     "is 7"},
    {"PermutationUnknown", Layer("permutation { kind: 8 }"), "spec.layers[0].permutation.kind", "8"},
    {"BijectionWithoutKind", Layer("bijection {}"), "spec.layers[0].bijection.kind", "is not set"},
    {"BijectionUnknown", Layer("bijection { kind: 50 }"), "spec.layers[0].bijection.kind", "50"},
    {"BijectionColumn", Layer("bijection { kind: EXP columns: 3 }"), "spec.layers[0].bijection.columns[0]", "is 3"},
    {"AffineScaleZero", Layer("bijection { kind: AFFINE scale: 0 }"), "spec.layers[0].bijection.scale", "not 0"},
    {"AffineShiftInfinite", Layer("bijection { kind: AFFINE shift: inf }"), "spec.layers[0].bijection.shift", "finite"},
    {"SlopeZero", Layer("bijection { kind: LEAKY_RELU_BIJECTION slope: 0 }"), "spec.layers[0].bijection.slope", "> 0"},
    {"AlphaTooLarge", Layer("bijection { kind: SIGMOID alpha: 0.5 }"), "spec.layers[0].bijection.alpha", "[0, 0.5)"},
    {"OptionOfAnotherKind", Layer("bijection { kind: EXP alpha: 0.1 }"), "spec.layers[0].bijection.alpha",
     "does not apply"},
    {"LogOfAnyNumber", Layer("bijection { kind: LOG }"), "spec.layers[0].bijection.kind",
     "LOG is defined within [0, inf]"},
    {"LogitOfAnyNumber", Layer("bijection { kind: LOGIT columns: 1 }"), "spec.layers[0].bijection.kind", "column 1"},
    {"ContextOfWrongSize", "features: 1 context_features: 2 layers { actnorm {} } context_preprocessing { mean: 0 }",
     "spec.context_preprocessing.mean", "has 1 numbers"},
    {"ContextWithoutContext", "features: 1 layers { actnorm {} } context_preprocessing {}",
     "spec.context_preprocessing", "context_features is 0"},
    {"OddReflections", Layer("householder { reflections: 3 }"), "spec.layers[0].householder.reflections", "even"},
    {"RotationOfOneColumn", "features: 1 layers { orthogonal {} }", "spec.layers[0].orthogonal", "at least 2"},
    {"RotationUnknown", Layer("orthogonal { map: 7 }"), "spec.layers[0].orthogonal.map", "7"},
    {"CircleOutOfRange", Layer("coupling { univariate { rational_quadratic_spline { circular: [0, 3] } } }"),
     "spec.layers[0].coupling.univariate.rational_quadratic_spline.circular[1]", "is 3"},
    {"CircleKind", Layer("elementwise { univariate { rational_quadratic_spline { circular: 1 circle: 7 } } }"),
     "spec.layers[0].elementwise.univariate.rational_quadratic_spline.circle", "unknown value 7"},
    {"CircleOfNoColumn", Layer("elementwise { univariate { rational_quadratic_spline { circle: HALF_TURN } } }"),
     "spec.layers[0].elementwise.univariate.rational_quadratic_spline.circle", "no column is"},
    {"CircleTwice", Layer("elementwise { univariate { rational_quadratic_spline { circular: [1, 1] } } }"),
     "spec.layers[0].elementwise.univariate.rational_quadratic_spline.circular[1]", "listed twice"},
    {"PassedBins", Layer("coupling { passed_univariate { rational_quadratic_spline { bins: 1 } } }"),
     "spec.layers[0].coupling.passed_univariate.rational_quadratic_spline.bins", "2 … 64"},
    {"UnchangedColumn", Layer("standardize { unchanged: 3 }"), "spec.layers[0].standardize.unchanged[0]", "is 3"},
    {"UnchangedColumnWithAScale", Layer("standardize { unchanged: 1 scale: [1, 2, 3] }"),
     "spec.layers[0].standardize.unchanged[0]", "scale 2"},
    {"PlanarDirection", Layer("planar { parallel: 5 }"), "spec.layers[0].planar.parallel", "5"},
    {"RadialNetwork", Layer("radial { conditioner { mlp { hidden: 0 } } }"),
     "spec.layers[0].radial.conditioner.mlp.hidden[0]", "is 0"},
    {"SylvesterTooWide", Layer("sylvester { hidden: 4 }"), "spec.layers[0].sylvester.hidden", "1 … 3"},
    {"SylvesterDirection", Layer("sylvester { parallel: 9 }"), "spec.layers[0].sylvester.parallel", "9"},
    {"ResidualCoefficientOne", Layer("residual { coefficient: 1 }"), "spec.layers[0].residual.coefficient", "0.99"},
    {"ResidualCoefficientNaN", Layer("residual { coefficient: nan }"), "spec.layers[0].residual.coefficient", "nan"},
    {"ResidualNetwork", Layer("residual { network { hidden: 9000 } }"), "spec.layers[0].residual.network.hidden[0]",
     "8192"},
    {"ResidualExact", Layer("residual { exact_trace_features: 65 }"), "spec.layers[0].residual.exact_trace_features",
     "limit is 64"},
    {"ResidualTerms", Layer("residual { series_terms: 201 }"), "spec.layers[0].residual.series_terms", "1 … 200"},
    {"ResidualProbes", Layer("residual { probes: 257 }"), "spec.layers[0].residual.probes", "1 … 256"},
    {"ResidualTolerance", Layer("residual { tolerance: 0.1 }"), "spec.layers[0].residual.tolerance", "0.01"},
    {"ContinuousRelu", Layer("continuous { network { activation: RELU } }"),
     "spec.layers[0].continuous.network.activation", "RELU; a velocity must be smooth"},
    {"ContinuousLeakyRelu", Layer("continuous { network { activation: LEAKY_RELU } }"),
     "spec.layers[0].continuous.network.activation", "smooth"},
    {"ContinuousNetwork", Layer("continuous { network { hidden: [9, 9000] } }"),
     "spec.layers[0].continuous.network.hidden[1]", "8192"},
    {"ContinuousAtol", Layer("continuous { atol: 1e-13 }"), "spec.layers[0].continuous.atol", "[1e-12, 0.1]"},
    {"ContinuousRtol", Layer("continuous { rtol: nan }"), "spec.layers[0].continuous.rtol", "nan"},
    {"ContinuousRtolLarge", Layer("continuous { rtol: 0.2 }"), "spec.layers[0].continuous.rtol", "0.2"},
    {"ContinuousSteps", Layer("continuous { max_steps: 1000001 }"), "spec.layers[0].continuous.max_steps",
     "1 … 1000000"},
    {"ContinuousExact", Layer("continuous { exact_trace_features: 65 }"),
     "spec.layers[0].continuous.exact_trace_features", "limit is 64"},
    {"ContinuousProbes", Layer("continuous { probes: 257 }"), "spec.layers[0].continuous.probes", "1 … 256"},
    {"ContinuousFrequencies", Layer("continuous { time_frequencies: 65 }"),
     "spec.layers[0].continuous.time_frequencies", "1 … 64"},
    {"ContinuousKinetic", Layer("continuous { kinetic_regularization: -1 }"),
     "spec.layers[0].continuous.kinetic_regularization", "-1"},
    {"ContinuousJacobian", Layer("continuous { jacobian_regularization: inf }"),
     "spec.layers[0].continuous.jacobian_regularization", "finite"},
    {"ContinuousObjective", Layer("continuous { objective: 3 }"), "spec.layers[0].continuous.objective", "3"},
    {"MatchingWithRegularisation", Layer("continuous { objective: FLOW_MATCHING kinetic_regularization: 0.1 }"),
     "spec.layers[0].continuous.kinetic_regularization", "no path"},
    {"MatchingBesideALearntLayer",
     "features: 3 layers { continuous { objective: FLOW_MATCHING } } layers { lu_linear {} }",
     "spec.layers[0].continuous.objective", "layers.1.lu"},
    {"MatchingTwice",
     "features: 3 layers { continuous { objective: FLOW_MATCHING } } layers { continuous { objective: FLOW_MATCHING } "
     "}",
     "spec.layers[0].continuous.objective", "layers.1.network.0.weight"},
    {"OneComponent", Layer("elementwise { univariate { mixture_cdf { components: 1 } } }"),
     "spec.layers[0].elementwise.univariate.mixture_cdf.components", "2 … 64"},
    {"MixtureFamily", Layer("coupling { univariate { mixture_cdf { family: 3 } } }"),
     "spec.layers[0].coupling.univariate.mixture_cdf.family", "3"},
    {"MixtureLayers", Layer("autoregressive { univariate { mixture_cdf { layers: 5 } } }"),
     "spec.layers[0].autoregressive.univariate.mixture_cdf.layers", "1 … 4"},
    {"MixtureScale", Layer("coupling { univariate { mixture_cdf { max_log_scale: nan } } }"),
     "spec.layers[0].coupling.univariate.mixture_cdf.max_log_scale", "6.9"},
    {"StudentTOfOneDegree", Layer("actnorm {}") + "base { student_t { degrees: 1 } }", "spec.base.student_t.degrees",
     "(1, 1000]"},
    {"StudentTNaN", Layer("actnorm {}") + "base { student_t { degrees: nan } }", "spec.base.student_t.degrees", "nan"},
    {"TooManyComponents", Layer("actnorm {}") + "base { gaussian_mixture { components: 1025 } }",
     "spec.base.gaussian_mixture.components", "1 … 1024"},
    {"EmptyBox", Layer("actnorm {}") + "base { uniform_box { low: 2 } }", "spec.base.uniform_box.high", "above low, 2"},
    {"InfiniteBox", Layer("actnorm {}") + "base { uniform_box { low: -inf } }", "spec.base.uniform_box.low", "finite"},
    {"ConditionalBaseWithoutContext", "features: 3 layers { actnorm {} } base { conditional_diagonal_normal {} }",
     "spec.base.conditional_diagonal_normal", "context_features is 0"},
    {"ProductOfNothing", Layer("actnorm {}") + "base { product {} }", "spec.base.product.groups", "1 … 64"},
    {"ProductWithoutAColumn", Layer("actnorm {}") + "base { product { groups { columns: [0, 2] } } }",
     "spec.base.product.groups", "column 1 is in no group"},
    {"ProductWithAColumnTwice",
     Layer("actnorm {}") + "base { product { groups { columns: [0, 1] } groups { columns: [2, 1] } } }",
     "spec.base.product.groups[1].columns[1]", "another group"},
    {"ProductColumn", Layer("actnorm {}") + "base { product { groups { columns: [0, 3] } } }",
     "spec.base.product.groups[0].columns[1]", "is 3"},
    {"ProductGroupEmpty", Layer("actnorm {}") + "base { product { groups {} } }", "spec.base.product.groups[0].columns",
     "is empty"},
    {"ProductOfProducts",
     Layer("actnorm {}") + "base { product { groups { columns: [0, 1, 2] base { product {} } } } }",
     "spec.base.product.groups[0].base", "product itself"},
    {"ProductOfBadBase",
     Layer("actnorm {}") + "base { product { groups { columns: [0, 1, 2] base { student_t { degrees: 2000 } } } } }",
     "spec.base.product.groups[0].base.student_t.degrees", "1000"},
    {"LogOfABoxThatReachesBelowZero", Layer("bijection { kind: LOG }") + "base { uniform_box { low: -1 } }",
     "spec.layers[0].bijection.kind", "[-1, 1]"},
    {"TooManyParameters", "features: 40000 layers { lu_linear {} }", "spec", "1600040000 learnt parameters"},
    {"PreprocessingBehindALayer", Layer("actnorm {}") + "layers { preprocessing {} }", "spec.layers[1].preprocessing",
     "layers[0]"},
    {"PreprocessingOfTooFewColumns", Layer("preprocessing { columns {} }"), "spec.layers[0].preprocessing.columns",
     "has 1 entries; there are 3 columns"},
    {"LogitWithoutEnds", Column("scaling: LOGIT"), kColumn + ".low", "both ends"},
    {"LogitWithoutHigh", Column("scaling: LOGIT low: 0"), kColumn + ".high", "is not set"},
    {"HighWithoutLow", Column("high: 3"), kColumn + ".low", "is not set"},
    {"EndsTheWrongWayRound", Column("scaling: LOGIT low: 3 high: 3"), kColumn + ".high", "above `low`, 3"},
    {"EndThatIsNotFinite", Column("scaling: LOG low: nan"), kColumn + ".low", "finite"},
    {"EndOfAnIntegerThatIsNone", Column("kind: INTEGER scaling: LOG low: 0.5"), kColumn + ".low", "whole"},
    {"EndsThatNothingReads", Column("scaling: STANDARD low: 0"), kColumn + ".low", "applies to LOG"},
    {"UpperEndOfALog", Column("scaling: LOG low: 0 high: 2"), kColumn + ".high", "applies to LOGIT"},
    {"CategoriesOfANumber", Column("categories: [1, 2]"), kColumn + ".categories", "CATEGORICAL"},
    {"OneCategory", Column("kind: CATEGORICAL categories: 1"), kColumn + ".categories", "2 … 1024"},
    {"CategoryTwice", Column("kind: CATEGORICAL categories: [1, 2, 1]"), kColumn + ".categories[2]", "twice"},
    {"CategoriesThatFloat32CannotTell", Column("kind: CATEGORICAL categories: [16777216, 16777217]"),
     kColumn + ".categories[1]", "float32"},
    {"CategoryWithAnEnd", Column("kind: CATEGORICAL low: 0"), kColumn + ".low", "applies to"},
    {"CategoryOnALogScale", Column("kind: CATEGORICAL scaling: LOG"), kColumn + ".scaling", "LOGIT or AUTOMATIC"},
    {"ModelledColumnWithAnEmbedding", Column("kind: CATEGORICAL embedding: 3"), kColumn + ".embedding", "context"},
    {"ModelledColumnWithMissingNumbers", Column("accept_missing: true"), kColumn + ".accept_missing", "context"},
    {"PreprocessingScaleOfZero", Column("scaling: STANDARD scale: 0"), kColumn + ".scale", "> 0"},
    {"PowerAboveTwo", Column("scaling: YEO_JOHNSON power: 2.1"), kColumn + ".power", "[0, 2]"},
    {"PowerOfALog", Column("scaling: LOG power: 1"), kColumn + ".power", "YEO_JOHNSON"},
    {"AngleOnALogScale", Column("kind: CIRCULAR scaling: LOG"), kColumn + ".scaling", "CIRCULAR"},
    {"AngleInAFlowOnTheLine", Column("kind: CIRCULAR"), kColumn + ".kind", "circular_nsf"},
    {"EncodingWithoutContext", "features: 1 layers { actnorm {} } context_encoding {}", "spec.context_encoding",
     "context_features is 0"},
    {"EncodingBesideStandardisation", Layer("actnorm {}") + " context_encoding {} context_preprocessing {}",
     "spec.context_encoding", "context_preprocessing"},
    {"EncodingOfTooFewColumns", Layer("actnorm {}") + " context_encoding { columns {} }",
     "spec.context_encoding.columns", "2 columns"},
    {"IntegerInTheContext", Layer("actnorm {}") + " context_encoding { columns {} columns { kind: INTEGER } }",
     "spec.context_encoding.columns[1].kind", "CONTINUOUS"},
    {"ScaledCategoryInTheContext",
     Layer("actnorm {}") + " context_encoding { columns { kind: CATEGORICAL scaling: LOGIT } columns {} }",
     "spec.context_encoding.columns[0].scaling", "embedded"},
    {"EmbeddingTooWide",
     Layer("actnorm {}") + " context_encoding { columns { kind: CATEGORICAL embedding: 257 } columns {} }",
     "spec.context_encoding.columns[0].embedding", "1 … 256"},
    {"UnknownNumbers", Layer("actnorm {}") + " context_encoding { columns { accept_unknown: true } columns {} }",
     "spec.context_encoding.columns[0].accept_unknown", "CATEGORICAL"},
    {"UnknownKindOfColumn", Column("kind: 17"), kColumn + ".kind", "17"},
    {"UnknownScaling", Column("scaling: 17"), kColumn + ".scaling", "17"},
    {"ImageWithoutHeight", "features: 4 image { channels: 1 width: 4 } layers { actnorm {} }", "spec.image.height",
     "is 0; it must be 1 … 65536"},
    {"ImageTooHigh", "features: 4 image { channels: 1 height: 65537 width: 4 } layers { actnorm {} }",
     "spec.image.height", "65536"},
    {"ImageOfOtherSize", "features: 12 image { channels: 1 height: 3 width: 5 } layers { actnorm {} }", "spec.image",
     "1 x 3 x 5 are 15 numbers, but there are 12 features"},
    {"SqueezeOfColumns", Layer("squeeze {}"), "spec.layers[0].squeeze", "needs an image"},
    {"SqueezeOfOddHeight", Image(2, 3, 2, "squeeze {}"), "spec.layers[0].squeeze",
     "is given 2 x 3 x 2; height and width must be even"},
    {"SqueezeOfOddWidth", Image(1, 2, 3, "squeeze {}"), "spec.layers[0].squeeze", "1 x 2 x 3"},
    {"SqueezeOnceTooOften", Image(1, 4, 6, "squeeze {} } layers { actnorm {} } layers { squeeze {}"),
     "spec.layers[2].squeeze", "is given 4 x 2 x 3"},
    {"SplitOfOneColumn", "features: 1 layers { split {} }", "spec.layers[0].split",
     "is given 1 columns; there must be at least two columns"},
    {"SplitOfOneChannel", Image(1, 4, 4, "split {}"), "spec.layers[0].split", "at least two channels"},
    {"SplitOfOneChannelThatIsLeft", Image(2, 4, 4, "split {} } layers { split {}"), "spec.layers[1].split",
     "is given 1 x 4 x 4"},
    {"SplitNetwork", Layer("split { conditioner { mlp { hidden: 0 } } }"),
     "spec.layers[0].split.conditioner.mlp.hidden[0]", "is 0"},
    {"SplitConvolutionOfColumns", Layer("split { conditioner { conv_resnet {} } }"),
     "spec.layers[0].split.conditioner.conv_resnet", "needs an image"},
    {"ColumnThatASplitHasTaken", Layer("split {} } layers { coupling { mask { transformed: 2 } }"),
     "spec.layers[1].coupling.mask.transformed[0]", "columns are 0 … 1"},
    {"PermutationOfWhatASplitHasTaken", Layer("split {} } layers { permutation { columns: [0, 1, 2] }"),
     "spec.layers[1].permutation.columns", "has 3 entries"},
    {"StandardizeOfWhatASplitHasTaken", Layer("split {} } layers { standardize { mean: [1, 2, 3] }"),
     "spec.layers[1].standardize.mean", "has 3 numbers"},
    {"ConvolutionOfColumns", Layer("coupling { conditioner { conv_resnet {} } }"),
     "spec.layers[0].coupling.conditioner.conv_resnet", "needs an image"},
    {"ConvolutionInAMadeNetwork", Image(1, 2, 2, "autoregressive { conditioner { conv_resnet {} } }"),
     "spec.layers[0].autoregressive.conditioner.conv_resnet", "couplings and splits of images"},
    {"ConvolutionOfTheContext", Image(1, 2, 2, "elementwise { conditioner { conv_resnet {} } }"),
     "spec.layers[0].elementwise.conditioner.conv_resnet", "couplings and splits of images"},
    {"ConvolutionInTheBase",
     Layer("actnorm {}") + "base { conditional_diagonal_normal { conditioner { conv_resnet {} } } }",
     "spec.base.conditional_diagonal_normal.conditioner.conv_resnet", "couplings and splits of images"},
    {"ConvolutionOfCircles",
     Image(2, 2, 2,
           "coupling { conditioner { conv_resnet {} } univariate { rational_quadratic_spline { circular: 0 } } }"),
     "spec.layers[0].coupling.conditioner.conv_resnet", "sines and cosines"},
    {"TooManyChannels", Image(1, 2, 2, "coupling { conditioner { conv_resnet { channels: 1025 } } }"),
     "spec.layers[0].coupling.conditioner.conv_resnet.channels", "1 … 1024"},
    {"TooManyConvolutions", Image(1, 2, 2, "coupling { conditioner { conv_resnet { blocks: 65 } } }"),
     "spec.layers[0].coupling.conditioner.conv_resnet.blocks", "1 … 64"},
    {"UnknownActivationOfConvolutions", Image(1, 2, 2, "coupling { conditioner { conv_resnet { activation: 9 } } }"),
     "spec.layers[0].coupling.conditioner.conv_resnet.activation", "9"},
    {"CheckerboardOfColumns", Layer("coupling { mask { pattern: CHECKERBOARD_EVEN } }"),
     "spec.layers[0].coupling.mask.pattern", "needs an image"},
    {"ChannelMaskOfOneChannel", Image(1, 2, 2, "coupling { mask { pattern: FIRST_CHANNELS } }"),
     "spec.layers[0].coupling.mask", "transforms 0 of 4 columns (1 x 2 x 2)"},
    {"CheckerboardOfOnePixel", Image(3, 1, 1, "coupling { mask { pattern: CHECKERBOARD_EVEN } }"),
     "spec.layers[0].coupling.mask", "transforms 3 of 3 columns"},
    {"ChannelNormOfColumns", Layer("actnorm { per_channel: true }"), "spec.layers[0].actnorm.per_channel",
     "needs an image"},
    {"MixedChannelsOfColumns", Layer("invertible_convolution {}"), "spec.layers[0].invertible_convolution",
     "needs an image"},
    {"PermutationOfOtherChannels", Image(3, 2, 2, "invertible_convolution { permutation { columns: [0, 1] } }"),
     "spec.layers[0].invertible_convolution.permutation.columns", "has 2 entries"},
    {"UnknownPermutationOfChannels", Image(3, 2, 2, "invertible_convolution { permutation { kind: 9 } }"),
     "spec.layers[0].invertible_convolution.permutation.kind", "9"},
};

INSTANTIATE_TEST_SUITE_P(Specs, BadSpecTest, testing::ValuesIn(kBadSpecs),
                         [](const auto& info) { return info.param.name; });

TEST(CheckFlowSpec, PathsStartWithTheGivenField) {
  EXPECT_THAT(Message(CheckFlowSpec(FlowSpec(), "request.spec")), StartsWith("request.spec.features: "));
}

TEST(CheckFlowSpec, AcceptsALogWhereTheLayersTowardsTheBaseGivePositiveNumbers) {
  EXPECT_TRUE(
      CheckFlowSpec(Parse("features: 3 layers { bijection { kind: LOG } } layers { bijection { kind: EXP } }")).ok());
  EXPECT_TRUE(
      CheckFlowSpec(Parse("features: 2 layers { bijection { kind: LOGIT alpha: 0.05 } } layers { permutation {} }"
                          "layers { bijection { kind: SIGMOID alpha: 0.05 } }"))
          .ok());
  EXPECT_FALSE(CheckFlowSpec(Parse("features: 2 layers { bijection { kind: LOG columns: 0 } } layers { permutation {} }"
                                   "layers { bijection { kind: EXP columns: 0 } }"))
                   .ok());
  EXPECT_TRUE(
      CheckFlowSpec(Parse("features: 2 layers { bijection { kind: LOG } } base { uniform_box { low: 0 } }")).ok());
}

TEST(CheckFitted, NamesTheStandardizeThatIsEmpty) {
  FlowSpec spec = Parse(
      "features: 1 context_features: 1 layers { standardize { mean: 0 scale: 1 } }"
      "layers { standardize { mean: 0 } } context_preprocessing {}");
  ASSERT_TRUE(CheckFlowSpec(spec).ok());
  EXPECT_THAT(Message(CheckFitted(spec)), StartsWith("spec.layers[1].standardize.scale: "));
  spec.mutable_layers(1)->mutable_standardize()->add_scale(2);
  EXPECT_THAT(Message(CheckFitted(spec)), StartsWith("spec.context_preprocessing.mean: "));
  spec.mutable_context_preprocessing()->add_mean(0);
  spec.mutable_context_preprocessing()->add_scale(2);
  EXPECT_TRUE(CheckFitted(spec).ok());
}

TEST(CheckFitted, NamesThePreprocessingThatIsNotFitted) {
  const auto unfitted = [](const std::string& columns) {
    const FlowSpec spec = Parse("features: 2 layers { preprocessing { " + columns + " } } layers { actnorm {} }");
    EXPECT_TRUE(CheckFlowSpec(spec).ok()) << CheckFlowSpec(spec);
    return Message(CheckFitted(spec));
  };
  const std::string path = "spec.layers[0].preprocessing.columns";
  const std::string first = "columns { kind: CONTINUOUS scaling: NONE } ";
  EXPECT_THAT(unfitted(""), StartsWith(path + ": is empty"));
  EXPECT_THAT(unfitted(first + "columns {}"), StartsWith(path + "[1].kind: "));
  EXPECT_THAT(unfitted(first + "columns { kind: INTEGER }"), StartsWith(path + "[1].scaling: "));
  EXPECT_THAT(unfitted(first + "columns { kind: INTEGER scaling: LOG }"), StartsWith(path + "[1].center: "));
  EXPECT_THAT(unfitted(first + "columns { kind: CONTINUOUS scaling: YEO_JOHNSON }"), StartsWith(path + "[1].power: "));
  EXPECT_THAT(unfitted(first + "columns { kind: CATEGORICAL }"), StartsWith(path + "[1].categories: "));
  EXPECT_EQ(unfitted(first + "columns { kind: INTEGER scaling: ROBUST center: 1 scale: 2 }"), "");
}

TEST(WithDefaults, WritesOutEveryDefaultOnce) {
  const FlowSpec spec = WithDefaults(Parse(
      "features: 3 context_features: 1 layers { elementwise { conditioner {} } } layers { coupling {} }"
      "layers { autoregressive { conditioner { residual_mlp {} } } } layers { permutation {} }"
      "layers { bijection { kind: AFFINE } } layers { bijection { kind: LEAKY_RELU_BIJECTION } }"
      "layers { elementwise {} } layers { elementwise { univariate { rational_quadratic_spline {} } } }"
      "layers { elementwise { univariate { rational_quadratic_spline { parameterization: SOFT_CLIP } } } }"
      "layers { elementwise { univariate { affine { scale_function: EXP } } } }"
      "layers { elementwise { univariate { affine { scale_function: SOFTPLUS } } } }"
      "layers { elementwise { univariate { affine { scale_function: SIGMOID direction: INVERSE } } } }"
      "layers { householder {} } layers { orthogonal {} } layers { planar {} } layers { radial { conditioner {} } }"
      "layers { sylvester {} } layers { elementwise { univariate { mixture_cdf {} } } } layers { residual {} }"
      "layers { continuous {} } base { product { groups { columns: 0 base { student_t {} } } groups { columns: 1 }"
      "                 groups { columns: 2 base { gaussian_mixture {} } } } }"));
  const FlowSpec expected = Parse(R"(
      features: 3 context_features: 1
      base { product { groups { columns: 0 base { student_t { degrees: 10 } } }
                       groups { columns: 1 base { standard_normal {} } }
                       groups { columns: 2 base { gaussian_mixture { components: 8 } } } } }
      layers { elementwise { univariate { affine { max_log_scale: 3 scale_function: TANH direction: FORWARD } }
                             conditioner { mlp { hidden: [64, 64] activation: RELU } } } }
      layers { coupling { mask { pattern: ALTERNATING_ODD } univariate { affine { max_log_scale: 3 scale_function: TANH direction: FORWARD } }
                          conditioner { mlp { hidden: [64, 64] activation: RELU } } } }
      layers { autoregressive { parallel: DENSITY order: NATURAL univariate { affine { max_log_scale: 3 scale_function: TANH direction: FORWARD } }
                                conditioner { residual_mlp { hidden: 64 blocks: 2 activation: RELU } } } }
      layers { permutation { kind: REVERSE } }
      layers { bijection { kind: AFFINE scale: 1 } }
      layers { bijection { kind: LEAKY_RELU_BIJECTION slope: 0.01 } }
      layers { elementwise { univariate { affine { max_log_scale: 3 scale_function: TANH direction: FORWARD } } } }
      layers { elementwise { univariate { rational_quadratic_spline {
          bins: 8 bound: 3 parameterization: SOFTPLUS min_width: 0.001 min_height: 0.001 min_slope: 0.001 } } } }
      layers { elementwise { univariate { rational_quadratic_spline {
          bins: 8 bound: 3 parameterization: SOFT_CLIP min_slope: 0.001 } } } }
      layers { elementwise { univariate { affine { scale_function: EXP direction: FORWARD } } } }
      layers { elementwise { univariate { affine { scale_function: SOFTPLUS direction: FORWARD min_scale: 0.001 } } } }
      layers { elementwise { univariate { affine {
          scale_function: SIGMOID direction: INVERSE min_scale: 0.001 max_scale: 2 } } } }
      layers { householder { reflections: 4 } }
      layers { orthogonal { map: MATRIX_EXPONENTIAL } }
      layers { planar { parallel: DENSITY } }
      layers { radial { parallel: DENSITY conditioner { mlp { hidden: [64, 64] activation: RELU } } } }
      layers { sylvester { parallel: DENSITY hidden: 3 } }
      layers { elementwise { univariate { mixture_cdf { components: 8 family: NORMAL layers: 1 max_log_scale: 5 } } } }
      layers { residual { network { hidden: [64, 64] activation: ELU } coefficient: 0.9 exact_trace_features: 16
                          series_terms: 20 probes: 1 tolerance: 1e-6 } }
      layers { continuous { network { hidden: [64, 64, 64] activation: TANH } atol: 1e-5 rtol: 1e-5 max_steps: 1000
                            exact_trace_features: 16 probes: 1 objective: MAXIMUM_LIKELIHOOD } })");
  EXPECT_TRUE(MessageDifferencer::Equals(spec, expected)) << spec.DebugString();
  EXPECT_TRUE(MessageDifferencer::Equals(WithDefaults(spec), spec));
}

TEST(WithDefaults, WritesOutThoseOfImages) {
  const std::string shape = "features: 16 image { channels: 4 height: 2 width: 2 } ";
  const FlowSpec spec = WithDefaults(
      Parse(shape + "layers { coupling { conditioner { conv_resnet {} } } } layers { invertible_convolution {} }"
                    "layers { split { conditioner { conv_resnet { blocks: 1 } } } } layers { split {} }"
                    "layers { invertible_convolution { permutation {} } } layers { householder {} }"));
  const FlowSpec expected = Parse(shape + R"(
      base { standard_normal {} }
      layers { coupling { mask { pattern: ALTERNATING_ODD }
                          univariate { affine { max_log_scale: 3 scale_function: TANH direction: FORWARD } }
                          conditioner { conv_resnet { channels: 64 blocks: 2 activation: RELU } } } }
      layers { invertible_convolution {} }
      layers { split { conditioner { conv_resnet { channels: 64 blocks: 1 activation: RELU } } } }
      layers { split { conditioner { mlp { hidden: [64, 64] activation: RELU } } } }
      layers { invertible_convolution { permutation { kind: REVERSE } } }
      layers { householder { reflections: 4 } })");
  EXPECT_TRUE(MessageDifferencer::Equals(spec, expected)) << spec.DebugString();
}

TEST(Documentation, EveryFlowOfTheNumericsPageIsAccepted) {
  std::ifstream file(DENSITYD_SOURCE_DIR "/docs/numerics.md");
  const std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::string fence = "```json\n";
  int examples = 0;
  for (size_t begin = page.find(fence); begin != page.npos; begin = page.find(fence, begin + 1)) {
    const std::string json = page.substr(begin + fence.size(), page.find("```", begin + 3) - begin - fence.size());
    FlowSpec spec;
    const auto parsed = google::protobuf::util::JsonStringToMessage(json, &spec);
    EXPECT_TRUE(parsed.ok()) << parsed.ToString() << json;
    const absl::Status checked = CheckFlowSpec(spec);
    EXPECT_TRUE(checked.ok()) << checked << json;
    ++examples;
  }
  EXPECT_GE(examples, 2);
}

TEST(CountParameters, CountsWhatTheFormulaOfTheLayerSays) {
  // MADE of 3 + 2 inputs, hidden 4 and 5, two parameters for each of 3 columns.
  EXPECT_EQ(CountParameters(Parse(Layer("autoregressive { conditioner { mlp { hidden: [4, 5] } } }"))),
            5 * 4 + 4 + 4 * 5 + 5 + 5 * 6 + 6u);
  // Two columns pass and one is shifted.
  EXPECT_EQ(CountParameters(Parse(
                Layer("coupling { univariate { shift {} } conditioner { residual_mlp { hidden: 4 blocks: 1 } } }"))),
            4 * 4 + 4 + 2 * (4 * 4 + 4) + 4 * 1 + 1u);
  EXPECT_EQ(CountParameters(Parse(Layer("full_affine {}"))), 6 + 3u);
  // Three channels of 2 x 2, of which one passes.
  EXPECT_EQ(CountParameters(Parse(Image(3, 2, 2,
                                        "coupling { mask { pattern: LAST_CHANNELS } conditioner { conv_resnet { "
                                        "channels: 5 blocks: 1 } } }"))),
            9 * 5 + 5 + (9 * 25 + 5) + (25 + 5) + 9 * 5 * 4 + 4u);
  EXPECT_EQ(
      CountParameters(Parse(Image(3, 2, 2, "invertible_convolution {} } layers { actnorm { per_channel: true }"))),
      9 + 6u);
  EXPECT_EQ(CountParameters(Parse(Layer("standardize {}"))), 0u);
}

}  // namespace
}  // namespace densityd::flow
