// Presets of images expand to the multi-scale chains that the literature names.
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"
#include "tests/flow/preset_testing.h"

namespace densityd::flow {
namespace {

using density::v1::FlowSpec;
using density::v1::Mask;
using testing::ElementsAre;
using testing::StartsWith;

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

TEST(ImagePreset, GlowSqueezesAndStepsAndSplits) {
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

TEST(ImagePreset, RealNvpOfImagesHasCheckerboardsThenChannels) {
  const FlowSpec spec = Expand("name: 'realnvp_image' transforms: 3 image { channels: 3 height: 32 width: 32 }", 3072);
  const std::string odd = "CHECKERBOARD_ODD";
  const std::string even = "CHECKERBOARD_EVEN";
  EXPECT_THAT(KindsOf(spec), ElementsAre("preprocessing", "actnorm", odd, "actnorm", even, "squeeze", "actnorm",
                                         "LAST_CHANNELS", "split", "actnorm", odd, "actnorm", even, "actnorm", odd));
  EXPECT_EQ(LayerShapes(spec).back().channels, 6);
  EXPECT_EQ(Expand("name: 'realnvp_image' levels: 1 image { channels: 1 height: 7 width: 5 }", 35).layers_size(), 17);
}

TEST(ImagePreset, ImagesArePixelsUnlessToldOtherwise) {
  for (const std::string name : {"glow", "realnvp_image"}) {
    const FlowSpec preset = Expand("name: '" + name + "' " + kDigits, 784);
    const auto& pixel = preset.layers(0).preprocessing().columns(783);
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

TEST(ImagePreset, RefusesImagesThatDoNotFit) {
  const auto refusal = [](const std::string& options, uint32_t features = 784) {
    return PresetRefusal("name: 'glow' " + options, features);
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
  EXPECT_THAT(PresetRefusal("name: 'maf' " + kDigits, 784), StartsWith("preset.image: does not apply to preset 'maf'"));
  EXPECT_THAT(PresetRefusal("name: 'maf' levels: 2"), StartsWith("preset.levels: does not apply to preset 'maf'"));
  EXPECT_THAT(PresetRefusal("name: 'realnvp_image' levels: 4 " + kDigits, 784), StartsWith("preset.levels: is 4"));
  EXPECT_EQ(Expand("name: 'realnvp_image' levels: 3 " + kDigits, 784).image().height(), 28u);
}

}  // namespace
}  // namespace densityd::flow
