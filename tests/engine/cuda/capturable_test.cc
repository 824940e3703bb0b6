#include "server/engine/cuda/capturable.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace densityd::engine::cuda {
namespace {

density::v1::FlowSpec Spec() {
  density::v1::FlowSpec spec;
  spec.set_features(4);
  spec.add_layers()->mutable_coupling();
  spec.add_layers()->mutable_lu_linear();
  spec.add_layers()->mutable_autoregressive()->mutable_univariate()->mutable_rational_quadratic_spline();
  return spec;
}

TEST(CapturableTest, LayersThatTakeTheSameStepsForAllRowsAre) { EXPECT_EQ(ObstacleToGraphs(Spec()), ""); }

TEST(CapturableTest, LayersThatIterateUntilTheyConvergeAreNot) {
  density::v1::FlowSpec spec = Spec();
  spec.add_layers()->mutable_residual();
  EXPECT_THAT(ObstacleToGraphs(spec), testing::HasSubstr("layers[3]"));
  spec = Spec();
  spec.mutable_layers(0)->mutable_coupling()->mutable_univariate()->mutable_mixture_cdf();
  EXPECT_THAT(ObstacleToGraphs(spec), testing::HasSubstr("layers[0]"));
}

TEST(CapturableTest, BasesWithNoiseOfTheirOwnAreNot) {
  density::v1::FlowSpec spec = Spec();
  spec.mutable_base()->mutable_gaussian_mixture()->set_components(3);
  EXPECT_THAT(ObstacleToGraphs(spec), testing::HasSubstr("base"));
}

}  // namespace
}  // namespace densityd::engine::cuda
