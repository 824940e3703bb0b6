// In which order of columns a flow's density factors, if in any.
#include "server/flow/chain_order.h"

#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/spec.h"

namespace densityd::flow {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

ChainOrder OrderOf(const std::string& text) {
  density::v1::FlowSpec spec;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
  return ChainOrderOf(WithDefaults(spec));
}

ChainOrder OrderOfPreset(const std::string& text, uint32_t features = 3) {
  density::v1::Preset preset;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &preset)) << text;
  auto spec = ExpandPreset(preset, features, 0);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? ChainOrderOf(*spec) : ChainOrder();
}

TEST(ChainOrder, IsThatOfTheAutoregressiveLayer) {
  EXPECT_THAT(OrderOf("features: 3 layers { autoregressive {} }").columns, ElementsAre(0, 1, 2));
  EXPECT_THAT(OrderOf("features: 3 layers { autoregressive { order: REVERSED } }").columns, ElementsAre(2, 1, 0));
  EXPECT_THAT(OrderOf("features: 3 layers { autoregressive { columns: [1, 2, 0] } }").columns, ElementsAre(1, 2, 0));
  EXPECT_THAT(OrderOf("features: 3 layers { autoregressive { parallel: SAMPLING } }").columns, ElementsAre(0, 1, 2));
  EXPECT_THAT(OrderOf("features: 3 layers { full_affine {} }").columns, ElementsAre(0, 1, 2));
}

TEST(ChainOrder, LayersThatMapColumnsOneByOneFitAnyOrder) {
  const ChainOrder order = OrderOf(
      "features: 2 layers { standardize { mean: [0, 0] scale: [1, 1] } } layers { actnorm {} } layers { elementwise {} "
      "}"
      "layers { autoregressive { order: REVERSED } } layers { bijection { kind: TANH } }");
  EXPECT_THAT(order.columns, ElementsAre(1, 0));
  EXPECT_THAT(order.places, ElementsAre(0, 1));
  EXPECT_THAT(OrderOf("features: 2 layers { elementwise {} }").columns, ElementsAre(0, 1));
}

TEST(ChainOrder, IsToldInTheColumnsOfTheData) {
  const ChainOrder order = OrderOf(
      "features: 3 layers { permutation { columns: [2, 0, 1] } } layers { autoregressive {} }"
      "layers { permutation { columns: [1, 0, 2] } } layers { autoregressive { columns: [1, 0, 2] } }");
  EXPECT_THAT(order.columns, ElementsAre(2, 0, 1));
  EXPECT_THAT(order.places, ElementsAre(0, 2, 1));
}

TEST(ChainOrder, TwoOrdersAreNone) {
  const ChainOrder order = OrderOf(
      "features: 2 layers { autoregressive {} } layers { actnorm {} } layers { autoregressive { order: REVERSED } }");
  EXPECT_FALSE(order.exists());
  EXPECT_TRUE(order.columns.empty());
  EXPECT_THAT(order.obstacle, AllOf(HasSubstr("spec.layers[2] (autoregressive)"),
                                    HasSubstr("another order than spec.layers[0] (autoregressive)")));
  // The same order twice, one of them behind a permutation that undoes it.
  EXPECT_TRUE(OrderOf("features: 2 layers { autoregressive {} } layers { permutation { kind: REVERSE } }"
                      "layers { autoregressive { order: REVERSED } }")
                  .exists());
  EXPECT_FALSE(OrderOf("features: 2 layers { autoregressive {} } layers { permutation { kind: REVERSE } }"
                       "layers { autoregressive {} }")
                   .exists());
}

TEST(ChainOrder, LayersThatMixColumnsHaveNone) {
  for (const std::string layer : {"coupling {}", "lu_linear {}", "householder {}", "orthogonal {}", "planar {}",
                                  "radial {}", "sylvester {}", "residual {}", "continuous {}", "split {}"}) {
    const ChainOrder order = OrderOf("features: 4 layers { autoregressive {} } layers { " + layer + " }");
    EXPECT_THAT(order.obstacle,
                HasSubstr("spec.layers[1] (" + layer.substr(0, layer.find(' ')) + ") keeps to no order"));
  }
}

TEST(ChainOrder, OneColumnHasAnOrderWhateverTheLayers) {
  EXPECT_THAT(OrderOf("features: 1 layers { planar {} } layers { continuous {} }").columns, ElementsAre(0));
}

TEST(ChainOrder, PresetsHaveOneWhereTheyAreAskedToKeepIt) {
  for (const std::string name : {"maf", "iaf", "nsf_ar", "naf", "circular_nsf"}) {
    EXPECT_FALSE(OrderOfPreset("name: '" + name + "'").exists()) << name;
    EXPECT_TRUE(OrderOfPreset("name: '" + name + "' transforms: 1").exists()) << name;
    EXPECT_THAT(OrderOfPreset("name: '" + name + "' mixing: SAME_ORDER").columns, ElementsAre(0, 1, 2)) << name;
  }
  EXPECT_TRUE(OrderOfPreset("name: 'maf' mixing: SAME_ORDER actnorm: true").exists());
  EXPECT_TRUE(OrderOfPreset("name: 'affine'").exists());
  EXPECT_TRUE(OrderOfPreset("name: 'elementwise'").exists());
  EXPECT_FALSE(OrderOfPreset("name: 'realnvp' transforms: 1").exists());
}

TEST(ChainOrder, OnlyAutoregressivePresetsCanKeepOne) {
  for (const std::string name : {"realnvp", "nsf_coupling", "planar", "residual", "gaussianization", "affine"}) {
    density::v1::Preset preset;
    preset.set_name(name);
    preset.set_mixing(density::v1::Preset::SAME_ORDER);
    const absl::Status status = ExpandPreset(preset, 4, 0).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("SAME_ORDER")) << name;
  }
}

TEST(EstimatesLogProb, SaysWhichFlowsEstimate) {
  const auto estimates = [](const std::string& text) {
    density::v1::FlowSpec spec;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &spec)) << text;
    return EstimatesLogProb(WithDefaults(spec));
  };
  const std::string deep = "continuous { network { hidden: [8, 8, 8] activation: TANH } }";
  EXPECT_TRUE(estimates("features: 17 layers { " + deep + " }"));
  EXPECT_FALSE(estimates("features: 16 layers { " + deep + " }"));
  // The trace of up to two hidden layers has a closed form.
  EXPECT_FALSE(estimates("features: 17 layers { continuous { network { hidden: [8, 8] activation: TANH } } }"));
  EXPECT_TRUE(estimates("features: 17 layers { permutation {} } layers { residual {} }"));
  EXPECT_FALSE(estimates("features: 16 layers { residual {} }"));
  EXPECT_FALSE(estimates("features: 17 layers { autoregressive {} } layers { coupling {} }"));
  // A split leaves half of the columns to the layers behind it.
  EXPECT_FALSE(estimates("features: 32 layers { split {} } layers { residual {} }"));
  EXPECT_TRUE(estimates("features: 34 layers { split {} } layers { residual {} }"));
}

}  // namespace
}  // namespace densityd::flow
