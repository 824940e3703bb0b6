// Presets expand to the chain of layers that the literature names.
#include <cstdint>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/columns.h"
#include "server/flow/made_degrees.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::Autoregressive;
using density::v1::Continuous;
using density::v1::FlowSpec;
using density::v1::Mask;
using density::v1::Permutation;
using density::v1::Preset;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

Preset Parse(const std::string& text) {
  Preset preset;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &preset)) << text;
  return preset;
}

FlowSpec Expand(const std::string& preset, uint32_t features = 4, uint32_t context = 0) {
  const auto spec = ExpandPreset(Parse(preset), features, context);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.value_or(FlowSpec());
}

std::string Refusal(const std::string& preset, uint32_t features = 4) {
  const absl::Status status = ExpandPreset(Parse(preset), features, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << preset;
  return std::string(status.message().data(), status.message().size());
}

TEST(ExpandPreset, LeavesAnglesAsTheyAreAndUniformInTheBase) {
  const FlowSpec spec = Expand("name: 'circular_nsf' circular: [3, 1]");
  EXPECT_THAT(spec.layers(0).standardize().unchanged(), ElementsAre(1, 3));
  EXPECT_THAT(spec.layers(1).autoregressive().univariate().rational_quadratic_spline().circular(), ElementsAre(1, 3));
  EXPECT_DOUBLE_EQ(spec.layers(1).autoregressive().univariate().rational_quadratic_spline().bound(), M_PI);
  EXPECT_THAT(spec.base().product().groups(0).columns(), ElementsAre(1, 3));
  EXPECT_DOUBLE_EQ(spec.base().product().groups(0).base().uniform_box().high(), M_PI);
  EXPECT_THAT(spec.base().product().groups(1).columns(), ElementsAre(0, 2));
  EXPECT_EQ(Expand("name: 'circular_nsf'").base().product().groups_size(), 1);
  EXPECT_THAT(Refusal("name: 'circular_nsf' circular: 4"), StartsWith("preset.circular[0]: is 4"));
  EXPECT_THAT(Refusal("name: 'circular_nsf' learnt_base: true"), StartsWith("preset.learnt_base: does not apply"));
}

TEST(ExpandPreset, LearnsASplineOfTheColumnsThatPass) {
  const FlowSpec spec = Expand("name: 'nsf_coupling' spline_of_passed: true bins: 5");
  EXPECT_EQ(spec.layers(1).coupling().passed_univariate().rational_quadratic_spline().bins(), 5u);
  EXPECT_FALSE(Expand("name: 'nsf_coupling'").layers(1).coupling().has_passed_univariate());
}

TEST(ExpandPreset, MixesByRotations) {
  const FlowSpec reflections = Expand("name: 'realnvp' transforms: 2 mixing: HOUSEHOLDER");
  ASSERT_EQ(reflections.layers_size(), 4);
  EXPECT_EQ(reflections.layers(2).householder().reflections(), 4u);
  EXPECT_TRUE(Expand("name: 'maf' transforms: 2 mixing: ROTATION").layers(2).has_orthogonal());
}

TEST(ExpandPreset, TakesAnyBaseButOnlyOne) {
  EXPECT_EQ(Expand("name: 'maf' base { student_t { degrees: 4 } }").base().student_t().degrees(), 4);
  EXPECT_THAT(Refusal("name: 'maf' base { student_t {} } learnt_base: true"), StartsWith("preset.learnt_base: "));
  EXPECT_THAT(Refusal("name: 'maf' base { student_t { degrees: 0.5 } }"),
              StartsWith("preset.base.student_t.degrees: "));
}

class EveryPreset : public testing::TestWithParam<const char*> {};

TEST_P(EveryPreset, IsValidAndStandardisesRowsAndContextFirst) {
  const std::string preset = std::string("name: '") + GetParam() + "'";
  const FlowSpec spec = Expand(preset, 5, 2);
  EXPECT_TRUE(CheckFlowSpec(spec).ok());
  EXPECT_EQ(spec.features(), 5u);
  EXPECT_EQ(spec.context_features(), 2u);
  EXPECT_TRUE(spec.layers(0).has_standardize());
  EXPECT_TRUE(spec.has_context_preprocessing());
  EXPECT_GT(CountParameters(spec), 0u);
}

TEST_P(EveryPreset, StandardisesNothingWhenToldSo) {
  const FlowSpec spec = Expand(std::string("no_standardize: true name: '") + GetParam() + "'", 5, 2);
  for (const auto& layer : spec.layers()) EXPECT_FALSE(layer.has_standardize());
  EXPECT_FALSE(spec.has_context_preprocessing());
}

TEST_P(EveryPreset, PreprocessesColumnsInPlaceOfStandardising) {
  const FlowSpec spec = Expand(std::string("preprocessing { } name: '") + GetParam() + "'", 5, 0);
  EXPECT_TRUE(spec.layers(0).has_preprocessing());
  for (const auto& layer : spec.layers()) EXPECT_FALSE(layer.has_standardize());
}

TEST_P(EveryPreset, CanLearnItsBase) {
  EXPECT_TRUE(Expand(std::string("learnt_base: true name: '") + GetParam() + "'").base().has_diagonal_normal());
}

INSTANTIATE_TEST_SUITE_P(Presets, EveryPreset,
                         testing::Values("affine", "elementwise", "nice", "realnvp", "maf", "iaf", "nsf_coupling",
                                         "nsf_ar", "gaussianization", "naf", "planar", "radial", "residual",
                                         "sylvester", "ffjord"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Preset, CircularNsfTakesAnglesInAnyUnit) {
  const FlowSpec spec = Expand("name: 'circular_nsf' circular: 1 preprocessing {}", 3, 0);
  EXPECT_EQ(spec.layers(0).preprocessing().columns(1).kind(), density::v1::ColumnPreprocessing::CIRCULAR);
  EXPECT_EQ(spec.layers(0).preprocessing().columns(0).kind(), density::v1::ColumnPreprocessing::KIND_UNSPECIFIED);
  EXPECT_TRUE(CheckFlowSpec(spec).ok()) << CheckFlowSpec(spec);
  const FlowSpec degrees = Expand(
      "name: 'circular_nsf' preprocessing { columns { kind: CIRCULAR low: 0 high: 360 } columns {} columns {} }", 3, 0);
  EXPECT_EQ(degrees.layers(0).preprocessing().columns(0).high(), 360);
}

TEST(Preset, EncodesTheContextInPlaceOfStandardising) {
  const FlowSpec spec = Expand("name: 'maf' context_encoding { columns { kind: CATEGORICAL } }", 3, 1);
  EXPECT_FALSE(spec.has_context_preprocessing());
  EXPECT_EQ(spec.context_encoding().columns(0).kind(), density::v1::ColumnPreprocessing::CATEGORICAL);
  EXPECT_TRUE(spec.layers(0).has_standardize());
}

TEST(Preset, RefusesPreprocessingThatIsWrong) {
  EXPECT_THAT(Refusal("name: 'maf' no_standardize: true preprocessing {}"), StartsWith("preset.no_standardize: "));
  EXPECT_THAT(Refusal("name: 'maf' preprocessing { columns {} }"), StartsWith("preset.preprocessing.columns: "));
  EXPECT_THAT(Refusal("name: 'circular_nsf' preprocessing { columns { kind: INTEGER } columns {} columns {} }", 3),
              StartsWith("preset.preprocessing.columns[0].kind: is INTEGER"));
  EXPECT_THAT(Refusal("name: 'maf' preprocessing { columns { kind: CIRCULAR } columns {} columns {} }", 3),
              StartsWith("preset.layers[0].preprocessing.columns[0].kind: CIRCULAR needs"));
}

TEST(Preset, RealNvpAlternatesEightAffineCouplings) {
  const FlowSpec spec = Expand("name: 'realnvp'");
  ASSERT_EQ(spec.layers_size(), 9);
  for (int i = 1; i < 9; ++i) {
    ASSERT_TRUE(spec.layers(i).has_coupling());
    EXPECT_EQ(spec.layers(i).coupling().mask().pattern(), i % 2 == 1 ? Mask::ALTERNATING_ODD : Mask::ALTERNATING_EVEN);
    EXPECT_TRUE(spec.layers(i).coupling().univariate().has_affine());
    EXPECT_THAT(spec.layers(i).coupling().conditioner().mlp().hidden(), ElementsAre(128, 128));
  }
}

TEST(Preset, NiceShifts) { EXPECT_TRUE(Expand("name: 'nice'").layers(1).coupling().univariate().has_shift()); }

TEST(Preset, NiceLearnsAScalePerColumnUnlessTheBaseDoes) {
  const FlowSpec own = Expand("name: 'nice'");
  EXPECT_TRUE(own.layers().rbegin()->elementwise().univariate().has_affine());
  const FlowSpec by_base = Expand("name: 'nice' learnt_base: true");
  EXPECT_TRUE(by_base.layers().rbegin()->has_coupling());
}

TEST(Preset, MafAndIafReverseTheOrderOfEveryOtherLayer) {
  for (const auto& [name, parallel] :
       {std::pair{"maf", Autoregressive::DENSITY}, std::pair{"iaf", Autoregressive::SAMPLING}}) {
    const FlowSpec spec = Expand(std::string("transforms: 4 name: '") + name + "'");
    ASSERT_EQ(spec.layers_size(), 5);
    for (int i = 1; i < 5; ++i) {
      EXPECT_EQ(spec.layers(i).autoregressive().order(),
                i % 2 == 1 ? Autoregressive::NATURAL : Autoregressive::REVERSED);
      EXPECT_EQ(spec.layers(i).autoregressive().parallel(), parallel);
    }
  }
}

TEST(Preset, NeuralSplineFlowsHaveSplinesOfTheGivenSize) {
  const auto coupling = Expand("name: 'nsf_coupling' bins: 5 bound: 4").layers(1).coupling().univariate();
  EXPECT_EQ(coupling.rational_quadratic_spline().bins(), 5u);
  EXPECT_EQ(coupling.rational_quadratic_spline().bound(), 4);
  const auto autoregressive = Expand("name: 'nsf_ar'").layers(1).autoregressive();
  EXPECT_EQ(autoregressive.univariate().rational_quadratic_spline().bins(), 8u);
  EXPECT_EQ(autoregressive.parallel(), Autoregressive::DENSITY);
}

TEST(Preset, ContinuousFlowsDifferInWhatTheirTrainingMinimises) {
  const FlowSpec ffjord = Expand("name: 'ffjord' continuous_options { rtol: 1e-3 kinetic_regularization: 0.01 }");
  ASSERT_EQ(ffjord.layers_size(), 2);
  EXPECT_EQ(ffjord.layers(1).continuous().objective(), Continuous::MAXIMUM_LIKELIHOOD);
  EXPECT_EQ(ffjord.layers(1).continuous().rtol(), 1e-3);
  EXPECT_EQ(ffjord.layers(1).continuous().kinetic_regularization(), 0.01);
  EXPECT_THAT(ffjord.layers(1).continuous().network().hidden(), ElementsAre(128, 128));
  EXPECT_EQ(ffjord.layers(1).continuous().network().activation(), density::v1::TANH);
  EXPECT_EQ(Expand("name: 'ffjord' transforms: 2 mixing: LU").layers_size(), 5);
  const FlowSpec matching = Expand("name: 'flow_matching' hidden: [7] activation: SILU", 4, 2);
  ASSERT_EQ(matching.layers_size(), 2);
  EXPECT_EQ(matching.layers(1).continuous().objective(), Continuous::FLOW_MATCHING);
  EXPECT_THAT(matching.layers(1).continuous().network().hidden(), ElementsAre(7));
  EXPECT_TRUE(CheckFlowSpec(matching).ok());
  EXPECT_THAT(Refusal("name: 'flow_matching' transforms: 2"), StartsWith("preset.transforms: does not apply"));
  EXPECT_THAT(
      Refusal("name: 'flow_matching' learnt_base: true"),
      StartsWith("preset.layers[1].continuous.objective: FLOW_MATCHING trains this layer alone, but base.mean"));
  EXPECT_THAT(Refusal("name: 'ffjord' activation: RELU"), StartsWith("preset.layers[1].continuous.network.activation"));
  EXPECT_THAT(Refusal("name: 'maf' continuous_options {}"), StartsWith("preset.continuous_options: does not apply"));
}

TEST(Preset, MixesBetweenTransformsWithActNormPermutationAndLu) {
  const FlowSpec spec = Expand("name: 'maf' transforms: 2 mixing: LU actnorm: true seed: 7");
  ASSERT_EQ(spec.layers_size(), 6);
  EXPECT_TRUE(spec.layers(1).has_autoregressive());
  EXPECT_TRUE(spec.layers(2).has_actnorm());
  EXPECT_EQ(spec.layers(3).permutation().kind(), Permutation::RANDOM);
  EXPECT_TRUE(spec.layers(4).has_lu_linear());
  EXPECT_EQ(spec.layers(5).autoregressive().order(), Autoregressive::NATURAL);
}

std::vector<std::string> KindsOf(const FlowSpec& spec) {
  std::vector<std::string> kinds;
  for (const auto& layer : spec.layers()) {
    std::string kind =
        layer.GetReflection()->GetOneofFieldDescriptor(layer, layer.GetDescriptor()->oneof_decl(0))->name();
    if (layer.has_coupling()) kind = Mask::Pattern_Name(layer.coupling().mask().pattern());
    kinds.push_back(std::move(kind));
  }
  return kinds;
}

const std::string kDigits = "image { channels: 1 height: 28 width: 28 } ";

TEST(Preset, GlowSqueezesAndStepsAndSplits) {
  const FlowSpec spec = Expand("name: 'glow' transforms: 2 hidden: 24 residual_blocks: 1 seed: 5 " + kDigits, 784, 1);
  EXPECT_TRUE(CheckFlowSpec(spec).ok()) << CheckFlowSpec(spec);
  const std::string conv = "invertible_convolution";
  EXPECT_THAT(KindsOf(spec), ElementsAre("preprocessing", "squeeze", "actnorm", conv, "LAST_CHANNELS", "actnorm", conv,
                                         "LAST_CHANNELS", "split", "squeeze", "actnorm", conv, "LAST_CHANNELS",
                                         "actnorm", conv, "LAST_CHANNELS"));
  EXPECT_TRUE(spec.layers(2).actnorm().per_channel());
  EXPECT_EQ(spec.layers(3).invertible_convolution().permutation().seed(), 5u);
  EXPECT_EQ(spec.layers(6).invertible_convolution().permutation().seed(), 6u);
  const auto& network = spec.layers(4).coupling().conditioner().conv_resnet();
  EXPECT_EQ(network.channels(), 24u);
  EXPECT_EQ(network.blocks(), 1u);
  EXPECT_TRUE(spec.layers(8).split().conditioner().has_conv_resnet());
  const std::vector<RowShape> shapes = LayerShapes(spec);
  EXPECT_EQ(shapes.back().columns, 392);
  EXPECT_EQ(shapes.back().channels, 8);
  EXPECT_EQ(shapes.back().height, 7);
}

TEST(Preset, RealNvpOfImagesHasCheckerboardsThenChannels) {
  const FlowSpec spec = Expand("name: 'realnvp_image' transforms: 3 image { channels: 3 height: 32 width: 32 }", 3072);
  const std::string odd = "CHECKERBOARD_ODD";
  const std::string even = "CHECKERBOARD_EVEN";
  EXPECT_THAT(KindsOf(spec), ElementsAre("preprocessing", "actnorm", odd, "actnorm", even, "squeeze", "actnorm",
                                         "LAST_CHANNELS", "split", "actnorm", odd, "actnorm", even, "actnorm", odd));
  EXPECT_EQ(LayerShapes(spec).back().channels, 6);
  EXPECT_EQ(Expand("name: 'realnvp_image' levels: 1 image { channels: 1 height: 7 width: 5 }", 35).layers_size(), 17);
}

TEST(Preset, ImagesArePixelsUnlessToldOtherwise) {
  for (const std::string name : {"glow", "realnvp_image"}) {
    const auto& pixel = Expand("name: '" + name + "' " + kDigits, 784).layers(0).preprocessing().columns(783);
    EXPECT_EQ(pixel.kind(), density::v1::ColumnPreprocessing::INTEGER);
    EXPECT_EQ(pixel.scaling(), density::v1::ColumnPreprocessing::LOGIT);
    EXPECT_EQ(pixel.low(), 0);
    EXPECT_EQ(pixel.high(), 255);
    const FlowSpec raw = Expand("no_standardize: true name: '" + name + "' " + kDigits, 784, 2);
    EXPECT_FALSE(raw.layers(0).has_preprocessing());
    EXPECT_FALSE(raw.has_context_preprocessing());
    EXPECT_TRUE(Expand("name: '" + name + "' " + kDigits, 784, 2).has_context_preprocessing());
    EXPECT_TRUE(
        Expand("preprocessing {} name: '" + name + "' " + kDigits, 784).layers(0).preprocessing().columns().empty());
    EXPECT_TRUE(Expand("learnt_base: true name: '" + name + "' " + kDigits, 784).base().has_diagonal_normal());
  }
}

TEST(Preset, RefusesImagesThatDoNotFit) {
  const auto refusal = [](const std::string& options, uint32_t features = 784) {
    return Refusal("name: 'glow' " + options, features);
  };
  EXPECT_THAT(refusal(""), StartsWith("preset.image: is not set"));
  EXPECT_THAT(refusal("image { channels: 1 height: 28 }"), StartsWith("preset.image.width: is 0"));
  EXPECT_THAT(refusal("image { channels: 65537 height: 28 width: 28 }"), StartsWith("preset.image.channels: is 65537"));
  EXPECT_THAT(refusal(kDigits, 783),
              StartsWith("preset.image: 1 x 28 x 28 are 784 numbers, but there are 783 features"));
  EXPECT_THAT(refusal("levels: 3 " + kDigits), StartsWith("preset.levels: is 3, so that height and width are halved 3 "
                                                          "times; those of 28 x 28 can be 2 times"));
  EXPECT_THAT(refusal("levels: 0 " + kDigits), StartsWith("preset.levels: is 0; it must be 1 … 8"));
  EXPECT_THAT(refusal("levels: 9 " + kDigits), StartsWith("preset.levels: is 9"));
  EXPECT_THAT(refusal("levels: 1 image { channels: 1 height: 27 width: 28 }", 756), StartsWith("preset.levels: is 1"));
  EXPECT_THAT(refusal("levels: 1 image { channels: 1 height: 28 width: 27 }", 756), StartsWith("preset.levels: is 1"));
  EXPECT_THAT(refusal("hidden: [8, 8] " + kDigits), StartsWith("preset.hidden: has 2 widths"));
  EXPECT_THAT(refusal("hidden: 1025 " + kDigits), StartsWith("preset.hidden[0]: is 1025; it must be 1 … 1024"));
  EXPECT_THAT(refusal("residual: true " + kDigits), StartsWith("preset.residual: does not apply"));
  EXPECT_THAT(refusal("dropout: 0.1 " + kDigits), StartsWith("preset.dropout: does not apply"));
  EXPECT_THAT(refusal("actnorm: true " + kDigits), StartsWith("preset.actnorm: does not apply"));
  EXPECT_THAT(refusal("mixing: LU " + kDigits), StartsWith("preset.mixing: does not apply"));
  EXPECT_THAT(Refusal("name: 'maf' " + kDigits, 784), StartsWith("preset.image: does not apply to preset 'maf'"));
  EXPECT_THAT(Refusal("name: 'maf' levels: 2"), StartsWith("preset.levels: does not apply to preset 'maf'"));
  EXPECT_THAT(Refusal("name: 'realnvp_image' levels: 4 " + kDigits, 784), StartsWith("preset.levels: is 4"));
  EXPECT_EQ(Expand("name: 'realnvp_image' levels: 3 " + kDigits, 784).image().height(), 28u);
}

TEST(Preset, BuildsResidualConditioners) {
  const auto residual = Expand("name: 'maf' residual: true hidden: 32 residual_blocks: 3 dropout: 0.2")
                            .layers(1)
                            .autoregressive()
                            .conditioner()
                            .residual_mlp();
  EXPECT_EQ(residual.hidden(), 32u);
  EXPECT_EQ(residual.blocks(), 3u);
  EXPECT_EQ(residual.dropout(), 0.2);
}

TEST(Preset, RefusesWithTheNameOfTheOption) {
  EXPECT_THAT(Refusal("name: 'glue'"),
              StartsWith("preset.name: 'glue' is unknown; known are affine, circular_nsf, elementwise"));
  EXPECT_THAT(Refusal("name: 'realnvp'", 1), HasSubstr("needs at least 2 features"));
  EXPECT_THAT(Refusal("name: 'maf' transforms: 0"), StartsWith("preset.transforms: is 0"));
  EXPECT_THAT(Refusal("name: 'maf' transforms: 129"), StartsWith("preset.transforms: is 129"));
  EXPECT_THAT(Refusal("name: 'maf' hidden: [8, 0]"), StartsWith("preset.hidden[1]: is 0"));
  EXPECT_THAT(Refusal("name: 'maf' hidden: 8193"), StartsWith("preset.hidden[0]: is 8193"));
  EXPECT_THAT(Refusal("name: 'maf' residual: true hidden: [8, 8]"), StartsWith("preset.hidden: has 2 widths"));
  EXPECT_THAT(Refusal("name: 'maf' residual_blocks: 2"), StartsWith("preset.residual_blocks: is set, but"));
  EXPECT_THAT(Refusal("name: 'maf' residual: true residual_blocks: 0"), StartsWith("preset.residual_blocks: is 0"));
  EXPECT_THAT(Refusal("name: 'maf' dropout: 0.5"), StartsWith("preset.dropout: is set, but"));
  EXPECT_THAT(Refusal("name: 'maf' residual: true dropout: 1"), StartsWith("preset.dropout: is 1"));
  EXPECT_THAT(Refusal("name: 'maf' mixing: 9"), StartsWith("preset.mixing: "));
  EXPECT_THAT(Refusal("name: 'maf' activation: 99"), StartsWith("preset.activation: "));
  EXPECT_THAT(Refusal("name: 'affine' hidden: 8"), StartsWith("preset.hidden: does not apply to preset 'affine'"));
  EXPECT_THAT(Refusal("name: 'maf' components: 8"), StartsWith("preset.components: does not apply"));
  EXPECT_THAT(Refusal("name: 'maf' rank: 2"), StartsWith("preset.rank: does not apply"));
  EXPECT_THAT(Refusal("name: 'sylvester' rank: 5"), StartsWith("preset.rank: is 5; it must be 1 … 4"));
  EXPECT_THAT(Refusal("name: 'naf' components: 1"), StartsWith("preset.components: is 1; it must be 2 … 64"));
  EXPECT_THAT(Refusal("name: 'gaussianization' mixing: LU"), StartsWith("preset.mixing: does not apply"));
  EXPECT_THAT(Refusal("name: 'maf' bins: 8"), StartsWith("preset.bins: does not apply to preset 'maf'"));
  EXPECT_THAT(Refusal("name: 'nsf_ar' bins: 1"), StartsWith("preset.bins: is 1; it must be 2 … 64"));
  EXPECT_THAT(Refusal("name: 'nsf_ar' bound: -1"), StartsWith("preset.bound: is -1"));
  EXPECT_THAT(Refusal("name: 'elementwise' transforms: 2"), StartsWith("preset.transforms: does not apply"));
}

TEST(Columns, MasksPartitionTheColumns) {
  for (int pattern = Mask::ALTERNATING_EVEN; pattern <= Mask::SECOND_HALF; ++pattern) {
    Mask mask;
    mask.set_pattern(static_cast<Mask::Pattern>(pattern));
    Columns all = TransformedColumns(mask, 5);
    EXPECT_EQ(all.size(), pattern == Mask::ALTERNATING_EVEN || pattern == Mask::SECOND_HALF ? 3u : 2u);
    const Columns rest = OtherColumns(all, 5);
    all.insert(all.end(), rest.begin(), rest.end());
    EXPECT_EQ(std::set<int64_t>(all.begin(), all.end()).size(), 5u);
  }
}

TEST(Columns, MasksOfImagesCoverPixelsAndChannels) {
  // Three channels of 2 x 3.
  const RowShape shape = {18, 3, 2, 3};
  const auto of = [&](Mask::Pattern pattern) {
    Mask mask;
    mask.set_pattern(pattern);
    return TransformedColumns(mask, shape);
  };
  EXPECT_THAT(of(Mask::CHECKERBOARD_EVEN), ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 16));
  EXPECT_THAT(of(Mask::CHECKERBOARD_ODD), ElementsAre(1, 3, 5, 7, 9, 11, 13, 15, 17));
  EXPECT_THAT(of(Mask::FIRST_CHANNELS), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(of(Mask::LAST_CHANNELS), ElementsAre(6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17));
  EXPECT_THAT(ChannelsWith({0, 5, 17}, shape), ElementsAre(0, 2));
}

TEST(Columns, CheckerboardsOfEvenWidthAlternateFromRowToRow) {
  Mask mask;
  mask.set_pattern(Mask::CHECKERBOARD_EVEN);
  EXPECT_THAT(TransformedColumns(mask, RowShape{8, 2, 2, 2}), ElementsAre(0, 3, 4, 7));
}

TEST(Columns, ASqueezeTakesEachSquareOfAChannelApart) {
  // Two channels of 2 x 4.
  EXPECT_THAT(SqueezeColumns({16, 2, 2, 4}), ElementsAre(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  EXPECT_THAT(SqueezeColumns({16, 1, 4, 4}), ElementsAre(0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15));
}

TEST(Columns, RandomPermutationsNeverChange) {
  Permutation permutation;
  permutation.set_kind(Permutation::RANDOM);
  permutation.set_seed(1);
  // Stored models depend on this very order.
  EXPECT_THAT(PermutationColumns(permutation, 6), ElementsAre(1, 3, 0, 4, 5, 2));
  EXPECT_THAT(InversePermutation({2, 0, 1}), ElementsAre(1, 2, 0));
}

TEST(MadeDegrees, HiddenUnitsServeEveryColumnEvenly) {
  EXPECT_THAT(HiddenDegrees(6, 4, /*has_context=*/false), ElementsAre(1, 1, 2, 2, 3, 3));
  EXPECT_THAT(HiddenDegrees(8, 4, /*has_context=*/true), ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
  EXPECT_THAT(HiddenDegrees(3, 1, /*has_context=*/false), Each(0));
  // Fewer units than degrees: the first and the last degree are kept.
  const std::vector<int64_t> few = HiddenDegrees(5, 100, /*has_context=*/false);
  EXPECT_EQ(few.front(), 1);
  EXPECT_EQ(few.back(), 99);
}

TEST(MadeDegrees, FollowTheOrderOfTheColumns) {
  EXPECT_THAT(InputDegrees({2, 0, 1}, 2), ElementsAre(2, 3, 1, 0, 0));
  EXPECT_THAT(OutputDegrees({2, 0, 1}, 2), ElementsAre(1, 1, 2, 2, 0, 0));
}

}  // namespace
}  // namespace densityd::flow
