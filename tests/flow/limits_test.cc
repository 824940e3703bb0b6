// Limits are where the API says: the last allowed value is accepted, the next one is not. And what the options of
// presets become.
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/columns.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using density::v1::Autoregressive;
using density::v1::FlowSpec;
using density::v1::Mask;
using density::v1::Permutation;
using density::v1::Preset;
using google::protobuf::TextFormat;
using testing::ElementsAre;

bool Accepts(const std::string& layer, const std::string& rest = "") {
  FlowSpec spec;
  const std::string text = "features: 3 layers { " + layer + " } " + rest;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &spec)) << text;
  return CheckFlowSpec(spec).ok();
}

std::string Repeated(const std::string& number, int times) {
  std::string list = "[" + number;
  for (int i = 1; i < times; ++i) list += ", " + number;
  return list + "]";
}

TEST(Limits, OfNetworks) {
  const auto mlp = [](const std::string& hidden) {
    return Accepts("coupling { conditioner { mlp { hidden: " + hidden + " } } }");
  };
  EXPECT_TRUE(mlp("[1]"));
  EXPECT_TRUE(mlp("[8192]"));
  EXPECT_FALSE(mlp("[8193]"));
  EXPECT_TRUE(mlp(Repeated("2", 16)));
  EXPECT_FALSE(mlp(Repeated("2", 17)));
  const auto residual = [](const std::string& options) {
    return Accepts("autoregressive { conditioner { residual_mlp { " + options + " } } }");
  };
  EXPECT_TRUE(residual("hidden: 8192 blocks: 1"));
  EXPECT_FALSE(residual("hidden: 8193 blocks: 1"));
  EXPECT_TRUE(residual("hidden: 1 blocks: 64"));
  EXPECT_FALSE(residual("hidden: 1 blocks: 65"));
  EXPECT_TRUE(residual("dropout: 0.99"));
  EXPECT_FALSE(residual("dropout: 1"));
  EXPECT_FALSE(residual("dropout: -0.01"));
  EXPECT_TRUE(residual("activation: ELU"));
  EXPECT_FALSE(residual("activation: 7"));
}

TEST(Limits, OfConvolutions) {
  const auto accepts = [](const std::string& options) {
    FlowSpec spec;
    const std::string text =
        "features: 8 image { channels: 2 height: 2 width: 2 } layers { coupling { conditioner { conv_resnet { " +
        options + " } } } }";
    EXPECT_TRUE(TextFormat::ParseFromString(text, &spec)) << text;
    return CheckFlowSpec(spec).ok();
  };
  EXPECT_TRUE(accepts("channels: 1"));
  EXPECT_TRUE(accepts("channels: 1024"));
  EXPECT_FALSE(accepts("channels: 1025"));
  EXPECT_TRUE(accepts("channels: 1 blocks: 64"));
  EXPECT_FALSE(accepts("channels: 1 blocks: 65"));
  EXPECT_FALSE(accepts("activation: 7"));
}

TEST(Limits, OfUnivariateMaps) {
  const auto affine = [](const std::string& options) {
    return Accepts("elementwise { univariate { affine { " + options + " } } }");
  };
  EXPECT_TRUE(affine("max_log_scale: 16"));
  EXPECT_FALSE(affine("max_log_scale: 16.01"));
  EXPECT_TRUE(affine("scale_function: SOFTPLUS min_scale: 0"));
  EXPECT_FALSE(affine("scale_function: SOFTPLUS min_scale: -0.001"));
  EXPECT_TRUE(affine("scale_function: SIGMOID max_scale: 1000"));
  EXPECT_FALSE(affine("scale_function: SIGMOID max_scale: 1001"));
  EXPECT_FALSE(affine("scale_function: EXP min_scale: 0.1"));
  EXPECT_FALSE(affine("scale_function: SOFTPLUS max_log_scale: 1"));
  EXPECT_FALSE(affine("scale_function: SIGMOID max_log_scale: 1"));
  EXPECT_TRUE(affine("scale_function: SOFT_CLIP max_log_scale: 1"));
  const auto spline = [](const std::string& options) {
    return Accepts("coupling { univariate { rational_quadratic_spline { " + options + " } } }");
  };
  EXPECT_TRUE(spline("bins: 2"));
  EXPECT_TRUE(spline("bins: 64"));
  EXPECT_TRUE(spline("bound: 0.001"));
  EXPECT_TRUE(spline("bound: 1000"));
  EXPECT_FALSE(spline("bound: 0.0009"));
  EXPECT_FALSE(spline("bound: 1001"));
  EXPECT_TRUE(spline("min_width: 0"));
  EXPECT_TRUE(spline("min_height: 0.124"));
  EXPECT_FALSE(spline("min_height: 0.125"));
  EXPECT_TRUE(spline("min_slope: 1e-6"));
  EXPECT_FALSE(spline("min_slope: 9e-7"));
  EXPECT_FALSE(spline("min_slope: 1"));
  EXPECT_FALSE(spline("parameterization: SOFT_CLIP min_width: 0.1"));
}

TEST(Limits, OfReflections) {
  EXPECT_TRUE(Accepts("householder { reflections: 2 }"));
  EXPECT_TRUE(Accepts("householder { reflections: 1024 }"));
  EXPECT_FALSE(Accepts("householder { reflections: 1026 }"));
}

TEST(Limits, OfWholeFlows) {
  const auto accepts = [](const std::string& text) {
    FlowSpec spec;
    EXPECT_TRUE(TextFormat::ParseFromString(text, &spec)) << text;
    return CheckFlowSpec(spec).ok();
  };
  EXPECT_TRUE(accepts("features: 65536 layers { actnorm {} }"));
  EXPECT_TRUE(accepts("features: 1 context_features: 65536 layers { actnorm {} }"));
  std::string layers;
  for (int i = 0; i < 1024; ++i) layers += "layers { permutation {} } ";
  EXPECT_TRUE(accepts("features: 2 " + layers));
  EXPECT_FALSE(accepts("features: 2 " + layers + "layers { permutation {} }"));
  // 2^30 learnt numbers: 32767 x 32768.
  EXPECT_TRUE(accepts("features: 32767 layers { lu_linear {} }"));
  EXPECT_FALSE(accepts("features: 32768 layers { lu_linear {} }"));
}

FlowSpec Expand(const std::string& preset, uint32_t features = 4, uint32_t context = 0) {
  Preset parsed;
  EXPECT_TRUE(TextFormat::ParseFromString(preset, &parsed)) << preset;
  const auto spec = ExpandPreset(parsed, features, context);
  EXPECT_TRUE(spec.ok()) << preset << ": " << spec.status();
  return spec.value_or(FlowSpec());
}

TEST(PresetOptions, TheLastAllowedValueIsAccepted) {
  EXPECT_EQ(Expand("name: 'maf' transforms: 128 hidden: 1").layers_size(), 129);
  EXPECT_EQ(Expand("name: 'maf' transforms: 1 hidden: 1").layers_size(), 2);
  EXPECT_EQ(Expand("name: 'maf' transforms: 1 hidden: 8192").layers_size(), 2);
  EXPECT_EQ(Expand("name: 'maf' transforms: 1 residual: true residual_blocks: 64 hidden: 1").layers_size(), 2);
  EXPECT_EQ(Expand("name: 'nsf_ar' bins: 2 bound: 0.001").layers_size(), 6);
  EXPECT_EQ(Expand("name: 'nsf_ar' bins: 64 bound: 1000").layers_size(), 6);
  EXPECT_EQ(Expand("name: 'realnvp'", 2).layers_size(), 9);
  EXPECT_EQ(Expand("name: 'iaf'", 1).layers_size(), 6);
  Preset too_many;
  too_many.set_name("nsf_coupling");
  EXPECT_FALSE(ExpandPreset(too_many, 1, 0).ok());
}

TEST(PresetOptions, ReachTheNetworks) {
  const auto mlp = Expand("name: 'realnvp' hidden: [7, 9] activation: GELU").layers(1).coupling().conditioner().mlp();
  EXPECT_THAT(mlp.hidden(), ElementsAre(7, 9));
  EXPECT_EQ(mlp.activation(), density::v1::GELU);
  const auto residual =
      Expand("name: 'maf' residual: true activation: SILU").layers(1).autoregressive().conditioner().residual_mlp();
  EXPECT_EQ(residual.hidden(), 128u);
  EXPECT_EQ(residual.blocks(), 2u);
  EXPECT_EQ(residual.activation(), density::v1::SILU);
  EXPECT_TRUE(Expand("name: 'elementwise' hidden: 5", 4, 2).layers(1).elementwise().has_conditioner());
  EXPECT_FALSE(Expand("name: 'elementwise'", 4, 0).layers(1).elementwise().has_conditioner());
}

TEST(PresetOptions, PermutationsDifferFromLayerToLayerAndFollowTheSeed) {
  const FlowSpec spec = Expand("name: 'realnvp' transforms: 3 mixing: RANDOM_PERMUTATION seed: 10");
  ASSERT_EQ(spec.layers_size(), 6);
  EXPECT_EQ(spec.layers(2).permutation().kind(), Permutation::RANDOM);
  EXPECT_EQ(spec.layers(2).permutation().seed(), 11u);
  EXPECT_EQ(spec.layers(4).permutation().seed(), 12u);
  EXPECT_EQ(spec.layers(1).coupling().mask().pattern(), Mask::ALTERNATING_ODD);
  const FlowSpec reversed = Expand("name: 'maf' transforms: 2 mixing: ALTERNATE");
  EXPECT_EQ(reversed.layers(2).autoregressive().order(), Autoregressive::REVERSED);
  EXPECT_FALSE(Expand("name: 'maf' learnt_base: false").base().has_diagonal_normal());
  EXPECT_FALSE(Expand("name: 'maf'").has_context_preprocessing());
}

TEST(Columns, OfEachPattern) {
  const auto of = [](Mask::Pattern pattern) {
    Mask mask;
    mask.set_pattern(pattern);
    return TransformedColumns(mask, 5);
  };
  EXPECT_THAT(of(Mask::ALTERNATING_EVEN), ElementsAre(0, 2, 4));
  EXPECT_THAT(of(Mask::ALTERNATING_ODD), ElementsAre(1, 3));
  EXPECT_THAT(of(Mask::PATTERN_UNSPECIFIED), ElementsAre(1, 3));
  EXPECT_THAT(of(Mask::FIRST_HALF), ElementsAre(0, 1));
  EXPECT_THAT(of(Mask::SECOND_HALF), ElementsAre(2, 3, 4));
  EXPECT_THAT(OtherColumns({1, 3}, 5), ElementsAre(0, 2, 4));
  Autoregressive layer;
  EXPECT_THAT(AutoregressiveOrder(layer, 3), ElementsAre(0, 1, 2));
  layer.set_order(Autoregressive::REVERSED);
  EXPECT_THAT(AutoregressiveOrder(layer, 3), ElementsAre(2, 1, 0));
  for (uint32_t column : {1, 2, 0}) layer.add_columns(column);
  EXPECT_THAT(AutoregressiveOrder(layer, 3), ElementsAre(1, 2, 0));
  Permutation permutation;
  EXPECT_THAT(PermutationColumns(permutation, 3), ElementsAre(2, 1, 0));
  density::v1::Bijection bijection;
  EXPECT_THAT(BijectionColumns(bijection, 3), ElementsAre(0, 1, 2));
  bijection.add_columns(2);
  EXPECT_THAT(BijectionColumns(bijection, 3), ElementsAre(2));
}

}  // namespace
}  // namespace densityd::flow
