// A right spec is completed and measured.
#include "server/flow/spec.h"

#include <fstream>
#include <iterator>
#include <string>

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
using testing::StartsWith;

FlowSpec Parse(const std::string& text) {
  FlowSpec spec;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &spec)) << text;
  return spec;
}

std::string Message(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

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
  const auto of_columns = [](const std::string& layer) {
    return CountParameters(Parse("features: 3 context_features: 2 layers { " + layer + " }"));
  };
  const auto of_image = [](const std::string& layers) {
    return CountParameters(Parse("features: 12 image { channels: 3 height: 2 width: 2 } " + layers));
  };
  // MADE of 3 + 2 inputs, hidden 4 and 5, two parameters for each of 3 columns.
  EXPECT_EQ(of_columns("autoregressive { conditioner { mlp { hidden: [4, 5] } } }"),
            5 * 4 + 4 + 4 * 5 + 5 + 5 * 6 + 6u);
  // Two columns pass and one is shifted.
  EXPECT_EQ(of_columns("coupling { univariate { shift {} } conditioner { residual_mlp { hidden: 4 blocks: 1 } } }"),
            4 * 4 + 4 + 2 * (4 * 4 + 4) + 4 * 1 + 1u);
  EXPECT_EQ(of_columns("full_affine {}"), 6 + 3u);
  // Three channels of 2 x 2, of which one passes.
  EXPECT_EQ(of_image("layers { coupling { mask { pattern: LAST_CHANNELS } conditioner { conv_resnet { channels: 5 "
                     "blocks: 1 } } } }"),
            9 * 5 + 5 + (9 * 25 + 5) + (25 + 5) + 9 * 5 * 4 + 4u);
  EXPECT_EQ(of_image("layers { invertible_convolution {} } layers { actnorm { per_channel: true } }"), 9 + 6u);
  EXPECT_EQ(of_columns("standardize {}"), 0u);
}

}  // namespace
}  // namespace densityd::flow
