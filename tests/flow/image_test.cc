// Flows of images, and multi-scale flows: what each pixel depends on, and where what leaves early stays.
#include <cmath>
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"
#include "server/flow/columns.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

// d output / d input (inputs) at the only row.
Tensor Gradient(const Tensor& output, int64_t column, const Tensor& input) {
  return torch::autograd::grad({output[0][column]}, {input}, {}, /*retain_graph=*/true)[0][0];
}

TEST(Convolution, APixelDependsOnThosePassedPixelsThatItsNetworkReaches) {
  constexpr int64_t kSide = 11;
  // Three layers of 3 x 3 reach three pixels far.
  constexpr int64_t kReach = 3;
  const auto flow = Build(ParseSpec(
      "features: 242 image { channels: 2 height: 11 width: 11 } layers { coupling { mask { pattern: CHECKERBOARD_EVEN }"
      "conditioner { conv_resnet { channels: 8 blocks: 1 activation: TANH } } } }"));
  Randomise(*flow, 0.5);
  const Tensor x = Normal({1, 2 * kSide * kSide}, 1).requires_grad_();
  const Tensor z = flow->Inverse(x, Tensor()).value;
  // In the middle of the second channel, and at the end of the border.
  for (const int64_t pixel : {5 * kSide + 5, 10 * kSide + 10}) {
    const int64_t column = kSide * kSide + pixel;
    const Tensor gradient = Gradient(z, column, x);
    for (int64_t other = 0; other < 2 * kSide * kSide; ++other) {
      const int64_t down = std::abs(other % (kSide * kSide) / kSide - pixel / kSide);
      const int64_t across = std::abs(other % kSide - pixel % kSide);
      const bool passes = (down + across) % 2 == 1;
      const bool reached = other == column || (passes && down <= kReach && across <= kReach);
      EXPECT_EQ(gradient[other].item<double>() != 0, reached) << pixel << " of " << other;
    }
  }
}

TEST(Convolution, TreatsEveryPlaceInsideTheImageAlike) {
  const auto flow = Build(ParseSpec(
      "features: 392 image { channels: 2 height: 14 width: 14 } layers { coupling { mask { pattern: LAST_CHANNELS }"
      "conditioner { conv_resnet { channels: 8 blocks: 1 } } } }"));
  Randomise(*flow, 0.3);
  const Tensor image = torch::zeros({2, 2, 14, 14}, torch::kFloat64);
  // The same pixels at two places, far enough from the border.
  const Tensor patch = Normal({2, 3, 4}, 2);
  image[0].slice(1, 4, 7).slice(2, 4, 8).copy_(patch);
  image[1].slice(1, 6, 9).slice(2, 5, 9).copy_(patch);
  const Tensor z = flow->Inverse(image.flatten(1), Tensor()).value.view({2, 2, 14, 14});
  EXPECT_LE(MaxAbs(z[0].slice(1, 4, 7).slice(2, 4, 8) - z[1].slice(1, 6, 9).slice(2, 5, 9)), 1e-12);
  EXPECT_GT(MaxAbs(z - image), 0.01);
}

TEST(InvertibleConvolution, MixesTheChannelsOfEachPixelByTheSameMatrix) {
  const auto flow = Build(ParseSpec(
      "features: 12 image { channels: 3 height: 2 width: 2 } layers { invertible_convolution { permutation { columns: "
      "[1, 2, 0] } } }"));
  const Tensor x = Normal({5, 12}, 1);
  // Starts as the permutation alone.
  EXPECT_LE(MaxAbs(flow->Inverse(x, Tensor()).value.view({5, 3, 4}) - x.view({5, 3, 4}).roll(-1, 1)), 1e-14);
  Randomise(*flow, 0.4);
  const Mapped z = flow->Inverse(x, Tensor());
  const Tensor lu = flow->parameters()[0];
  const Tensor lower = lu.tril(-1) + torch::eye(3, torch::kFloat64);
  const Tensor diagonal = torch::log1p(lu.diagonal().exp()) + 1e-3;
  const Tensor matrix = torch::matmul(lower, lu.triu(1) + torch::diag(diagonal)).roll(-1, 0);
  EXPECT_LE(MaxAbs(z.value.view({5, 3, 4}) - torch::matmul(matrix, x.view({5, 3, 4}))), 1e-12);
  EXPECT_LE(MaxAbs(z.log_abs_det - 4 * diagonal.log().sum()), 1e-12);
}

TEST(ChannelActNorm, StartsSoThatEveryChannelIsStandardised) {
  const auto flow = Build(
      ParseSpec("features: 12 image { channels: 3 height: 2 width: 2 } layers { actnorm { per_channel: true } }"));
  const Tensor channels = torch::tensor({1.0, 20.0, 0.1}, torch::kFloat64).view({1, 3, 1});
  const Tensor x = ((Normal({300, 3, 4}, 1) + 2) * channels).flatten(1);
  flow->InitializeFromData(x, Tensor());
  const Tensor z = flow->Inverse(x, Tensor()).value.view({300, 3, 4});
  EXPECT_LE(MaxAbs(z.mean(torch::IntArrayRef({0, 2}))), 1e-12);
  EXPECT_LE(MaxAbs(z.square().mean(torch::IntArrayRef({0, 2})) - 1), 1e-12);
  EXPECT_EQ(flow->parameters()[0].numel(), 3);
}

TEST(Split, LaterLayersSeeTheFirstHalfAndTheOtherStaysBehindIt) {
  const std::string split = "layers { split { conditioner { mlp { hidden: [8] activation: TANH } } } } ";
  const auto flow = Build(ParseSpec("features: 7 " + split + "layers { lu_linear {} } " + split));
  Randomise(*flow, 0.4);
  EXPECT_EQ(flow->named_parameters()["layers.1.lu"].size(0), 4);
  const Tensor x = Normal({1, 7}, 1).requires_grad_();
  const Tensor z = flow->Inverse(x, Tensor()).value;
  // Of the last three columns each is its own, given the first four.
  for (int64_t column = 4; column < 7; ++column) {
    const Tensor gradient = Gradient(z, column, x);
    for (int64_t other = 0; other < 7; ++other) {
      EXPECT_EQ(gradient[other].item<double>() != 0, other < 4 || other == column) << column << " of " << other;
    }
  }
  // The first four do not depend on them.
  for (int64_t column = 0; column < 4; ++column) {
    EXPECT_EQ(MaxAbs(Gradient(z, column, x).slice(0, 4)), 0) << column;
    EXPECT_GT(MaxAbs(Gradient(z, column, x).slice(0, 0, 4)), 0) << column;
  }
}

TEST(Split, StandardisesWhatLeavesGivenWhatStays) {
  const auto flow = Build(ParseSpec("features: 2 layers { split { conditioner { mlp { hidden: [4] } } } }"));
  const torch::NoGradGuard no_grad;
  // Means and raw log-scales that no network can exceed.
  flow->named_parameters()["layers.0.conditioner.1.bias"].copy_(torch::tensor({1e3, 0.5}, torch::kFloat64));
  const Tensor x = torch::tensor({{0.3, 2.5}, {-1.0, 0.5}}, torch::kFloat64);
  const Mapped z = flow->Inverse(x, Tensor());
  // sigma is bounded by 1000.
  EXPECT_LE(MaxAbs(z.value.select(1, 1) - torch::tensor({2e-3, 0.0}, torch::kFloat64)), 1e-12);
  EXPECT_LE(MaxAbs(z.log_abs_det + std::log(1e3)), 1e-9);
}

TEST(Split, AStandardisationBehindItIsFittedToTheColumnsThatAreLeft) {
  const auto spec = ParseSpec("features: 5 layers { split {} } layers { standardize {} } layers { lu_linear {} }");
  const Tensor x = Normal({50, 5}, 1) * 3 + 1;
  const auto fitted = FitStandardize(spec, x, Tensor());
  ASSERT_TRUE(fitted.ok()) << fitted.status();
  ASSERT_EQ(fitted->layers(1).standardize().scale_size(), 3);
  EXPECT_NEAR(fitted->layers(1).standardize().scale(2), x.select(1, 2).std(false).item<double>(), 1e-12);
}

TEST(RowsAtOnce, AreFewerWhereConvolutionsHoldManyNumbers) {
  const auto rows = [](const std::string& text) { return RowsAtOnce(WithDefaults(ParseSpec(text)), 512); };
  EXPECT_EQ(rows("features: 8192 layers { coupling { conditioner { mlp { hidden: 8192 } } } }"), 512);
  const std::string image = "features: 784 image { channels: 1 height: 28 width: 28 } layers { ";
  EXPECT_EQ(rows(image + "coupling { conditioner { conv_resnet { channels: 64 } } } }"), (1 << 22) / (64 * 784));
  EXPECT_EQ(rows(image + "squeeze {} } layers { split { conditioner { conv_resnet { channels: 64 } } } }"),
            (1 << 22) / (64 * 196));
  // Enough to start an ActNorm from.
  EXPECT_EQ(rows("features: 65536 image { channels: 1 height: 256 width: 256 } layers { coupling { conditioner { "
                 "conv_resnet { channels: 1024 } } } }"),
            8);
}

}  // namespace
}  // namespace densityd::flow
