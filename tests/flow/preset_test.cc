// Presets expand to the chain of layers that the literature names.
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flow/preset_names.h"
#include "server/flow/spec.h"
#include "tests/flow/preset_testing.h"

namespace densityd::flow {
namespace {

using density::v1::Autoregressive;
using density::v1::Continuous;
using density::v1::FlowSpec;
using density::v1::Mask;
using density::v1::Permutation;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(ExpandPreset, LeavesAnglesAsTheyAreAndUniformInTheBase) {
  const FlowSpec spec = Expand("name: 'circular_nsf' circular: [3, 1]");
  EXPECT_THAT(spec.layers(0).standardize().unchanged(), ElementsAre(1, 3));
  EXPECT_THAT(spec.layers(1).autoregressive().univariate().rational_quadratic_spline().circular(), ElementsAre(1, 3));
  EXPECT_DOUBLE_EQ(spec.layers(1).autoregressive().univariate().rational_quadratic_spline().bound(), M_PI);
  EXPECT_THAT(spec.base().product().groups(0).columns(), ElementsAre(1, 3));
  EXPECT_DOUBLE_EQ(spec.base().product().groups(0).base().uniform_box().high(), M_PI);
  EXPECT_THAT(spec.base().product().groups(1).columns(), ElementsAre(0, 2));
  EXPECT_EQ(Expand("name: 'circular_nsf'").base().product().groups_size(), 1);
  EXPECT_THAT(PresetRefusal("name: 'circular_nsf' circular: 4"), StartsWith("preset.circular[0]: is 4"));
  EXPECT_THAT(PresetRefusal("name: 'circular_nsf' learnt_base: true"),
              StartsWith("preset.learnt_base: does not apply"));
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
  EXPECT_THAT(PresetRefusal("name: 'maf' base { student_t {} } learnt_base: true"), StartsWith("preset.learnt_base: "));
  EXPECT_THAT(PresetRefusal("name: 'maf' base { student_t { degrees: 0.5 } }"),
              StartsWith("preset.base.student_t.degrees: "));
}

// The presets of rows of numbers; those of angles and of images have tests of their own.
std::vector<std::string> PresetsOfNumbers() {
  std::vector<std::string> names = PresetNames();
  for (const std::string other : {"circular_nsf", "glow", "realnvp_image"}) {
    EXPECT_EQ(std::erase(names, other), 1u) << other;
  }
  return names;
}

class EveryPreset : public testing::TestWithParam<std::string> {
 protected:
  // What the preset becomes with further options.
  FlowSpec With(const std::string& options, uint32_t context = 0) const {
    return Expand("name: '" + GetParam() + "' " + options, 5, context);
  }
};

TEST_P(EveryPreset, IsValidAndStandardisesRowsAndContextFirst) {
  const FlowSpec spec = With("", 2);
  EXPECT_TRUE(CheckFlowSpec(spec).ok());
  EXPECT_EQ(spec.features(), 5u);
  EXPECT_EQ(spec.context_features(), 2u);
  EXPECT_TRUE(spec.layers(0).has_standardize());
  EXPECT_TRUE(spec.has_context_preprocessing());
  EXPECT_GT(CountParameters(spec), 0u);
}

TEST_P(EveryPreset, StandardisesNothingWhenToldSo) {
  const FlowSpec spec = With("no_standardize: true", 2);
  for (const auto& layer : spec.layers()) EXPECT_FALSE(layer.has_standardize());
  EXPECT_FALSE(spec.has_context_preprocessing());
}

TEST_P(EveryPreset, PreprocessesColumnsInPlaceOfStandardising) {
  const FlowSpec spec = With("preprocessing {}");
  EXPECT_TRUE(spec.layers(0).has_preprocessing());
  for (const auto& layer : spec.layers()) EXPECT_FALSE(layer.has_standardize());
}

TEST_P(EveryPreset, CanLearnItsBase) {
  if (GetParam() == "flow_matching") GTEST_SKIP() << "trains one layer alone, and refuses";
  EXPECT_TRUE(With("learnt_base: true").base().has_diagonal_normal());
}

INSTANTIATE_TEST_SUITE_P(Presets, EveryPreset, testing::ValuesIn(PresetsOfNumbers()),
                         [](const auto& info) { return info.param; });

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
  EXPECT_THAT(PresetRefusal("name: 'maf' no_standardize: true preprocessing {}"),
              StartsWith("preset.no_standardize: "));
  EXPECT_THAT(PresetRefusal("name: 'maf' preprocessing { columns {} }"), StartsWith("preset.preprocessing.columns: "));
  EXPECT_THAT(
      PresetRefusal("name: 'circular_nsf' preprocessing { columns { kind: INTEGER } columns {} columns {} }", 3),
      StartsWith("preset.preprocessing.columns[0].kind: is INTEGER"));
  EXPECT_THAT(PresetRefusal("name: 'maf' preprocessing { columns { kind: CIRCULAR } columns {} columns {} }", 3),
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
  EXPECT_THAT(PresetRefusal("name: 'flow_matching' transforms: 2"), StartsWith("preset.transforms: does not apply"));
  EXPECT_THAT(
      PresetRefusal("name: 'flow_matching' learnt_base: true"),
      StartsWith("preset.layers[1].continuous.objective: FLOW_MATCHING trains this layer alone, but base.mean"));
  EXPECT_THAT(PresetRefusal("name: 'ffjord' activation: RELU"),
              StartsWith("preset.layers[1].continuous.network.activation"));
  EXPECT_THAT(PresetRefusal("name: 'maf' continuous_options {}"),
              StartsWith("preset.continuous_options: does not apply"));
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
  EXPECT_THAT(PresetRefusal("name: 'glue'"),
              StartsWith("preset.name: 'glue' is unknown; known are affine, circular_nsf, elementwise"));
  EXPECT_THAT(PresetRefusal("name: 'realnvp'", 1), HasSubstr("needs at least 2 features"));
  EXPECT_THAT(PresetRefusal("name: 'maf' transforms: 0"), StartsWith("preset.transforms: is 0"));
  EXPECT_THAT(PresetRefusal("name: 'maf' transforms: 129"), StartsWith("preset.transforms: is 129"));
  EXPECT_THAT(PresetRefusal("name: 'maf' hidden: [8, 0]"), StartsWith("preset.hidden[1]: is 0"));
  EXPECT_THAT(PresetRefusal("name: 'maf' hidden: 8193"), StartsWith("preset.hidden[0]: is 8193"));
  EXPECT_THAT(PresetRefusal("name: 'maf' residual: true hidden: [8, 8]"), StartsWith("preset.hidden: has 2 widths"));
  EXPECT_THAT(PresetRefusal("name: 'maf' residual_blocks: 2"), StartsWith("preset.residual_blocks: is set, but"));
  EXPECT_THAT(PresetRefusal("name: 'maf' residual: true residual_blocks: 0"),
              StartsWith("preset.residual_blocks: is 0"));
  EXPECT_THAT(PresetRefusal("name: 'maf' dropout: 0.5"), StartsWith("preset.dropout: is set, but"));
  EXPECT_THAT(PresetRefusal("name: 'maf' residual: true dropout: 1"), StartsWith("preset.dropout: is 1"));
  EXPECT_THAT(PresetRefusal("name: 'maf' mixing: 9"), StartsWith("preset.mixing: "));
  EXPECT_THAT(PresetRefusal("name: 'maf' activation: 99"), StartsWith("preset.activation: "));
  EXPECT_THAT(PresetRefusal("name: 'affine' hidden: 8"),
              StartsWith("preset.hidden: does not apply to preset 'affine'"));
  EXPECT_THAT(PresetRefusal("name: 'maf' components: 8"), StartsWith("preset.components: does not apply"));
  EXPECT_THAT(PresetRefusal("name: 'maf' rank: 2"), StartsWith("preset.rank: does not apply"));
  EXPECT_THAT(PresetRefusal("name: 'sylvester' rank: 5"), StartsWith("preset.rank: is 5; it must be 1 … 4"));
  EXPECT_THAT(PresetRefusal("name: 'naf' components: 1"), StartsWith("preset.components: is 1; it must be 2 … 64"));
  EXPECT_THAT(PresetRefusal("name: 'gaussianization' mixing: LU"), StartsWith("preset.mixing: does not apply"));
  EXPECT_THAT(PresetRefusal("name: 'maf' bins: 8"), StartsWith("preset.bins: does not apply to preset 'maf'"));
  EXPECT_THAT(PresetRefusal("name: 'nsf_ar' bins: 1"), StartsWith("preset.bins: is 1; it must be 2 … 64"));
  EXPECT_THAT(PresetRefusal("name: 'nsf_ar' bound: -1"), StartsWith("preset.bound: is -1"));
  EXPECT_THAT(PresetRefusal("name: 'elementwise' transforms: 2"), StartsWith("preset.transforms: does not apply"));
}

}  // namespace
}  // namespace densityd::flow
