// Samples of every preset follow its own density in all columns together: a two-sample test against rows that were
// drawn from the density by rejection, which asks for log p alone.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <tuple>

#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "server/flow/preset_names.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

constexpr int64_t kSample = 300;
constexpr int64_t kPermutations = 1999;

density::v1::Preset SmallPreset(const std::string& name) {
  density::v1::Preset preset;
  preset.set_name(name);
  preset.set_no_standardize(true);
  if (name == "affine" || name == "elementwise") return preset;
  if (name != "flow_matching") preset.set_transforms(2);
  if (name != "sylvester") {
    preset.add_hidden(10);
    preset.set_activation(density::v1::TANH);
  }
  if (name == "ffjord" || name == "flow_matching") {
    preset.mutable_continuous_options()->set_atol(1e-4);
    preset.mutable_continuous_options()->set_rtol(1e-4);
  }
  if (name == "glow" || name == "realnvp_image") {
    preset.set_levels(1);
    preset.mutable_image()->set_channels(1);
    preset.mutable_image()->set_height(2);
    preset.mutable_image()->set_width(2);
  }
  return preset;
}

std::shared_ptr<Flow> Random(const density::v1::FlowSpec& spec, uint64_t seed = 7, double deviation = 0.2) {
  auto flow = Build(spec);
  Randomise(*flow, deviation, seed);
  flow->eval();
  return flow;
}

density::v1::FlowSpec SpecOf(const density::v1::Preset& preset) {
  const auto& image = preset.image();
  const auto spec = ExpandPreset(preset, preset.has_image() ? image.height() * image.width() : 3, 0);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

Tensor SampleOf(Flow& flow, int64_t rows) {
  const Tensor noise = Normal({rows, NoiseColumns(flow.spec().base(), flow.spec().features())}, 3);
  return flow.Forward(flow.BaseFromNoise(noise, Tensor()), Tensor()).value;
}

/// Rows to choose from, and the logarithm of their density.
struct Proposal {
  Tensor rows;
  Tensor log_density;
};

/// Uniform on the circles of a base that is a box.
Proposal UniformRows(double low, double high, int64_t rows, int64_t features) {
  const Tensor x = low + (high - low) * torch::special_ndtr(Normal({rows, features}, 9));
  return {x, torch::zeros({rows}, torch::kFloat64)};
}

/// A multivariate t distribution of 5 degrees of freedom around `like`, 1.2 times as wide: its tails are heavier than
/// those of any preset on a normal base.
Proposal WideRows(const Tensor& like, int64_t rows) {
  constexpr double kDegrees = 5;
  const int64_t features = like.size(1);
  const Tensor scale = 1.2 * torch::linalg_cholesky(torch::cov(like.t()));
  const Tensor chi_square = Normal({rows, static_cast<int64_t>(kDegrees)}, 8).square().sum(1);
  const Tensor t = Normal({rows, features}, 9) / (chi_square / kDegrees).sqrt().unsqueeze(1);
  const Tensor log_density = -0.5 * (kDegrees + features) * torch::log1p(t.square().sum(1) / kDegrees);
  return {t.matmul(scale.t()) + like.mean(0), log_density};
}

/// kSample rows of the density of `flow`: of each row that is proposed the share that its density allows.
Tensor RejectionSample(Flow& flow, const Tensor& like) {
  constexpr int64_t kProposed = 20000;
  const bool is_box = flow.spec().base().has_product();
  const Proposal proposal = is_box ? UniformRows(-M_PI, M_PI, kProposed, like.size(1)) : WideRows(like, kProposed);
  const Tensor log_share = flow.LogProb(proposal.rows, Tensor()) - proposal.log_density;
  const Tensor threshold = torch::special_ndtr(Normal({kProposed}, 10)).log();
  const Tensor taken = (threshold <= log_share - log_share.max()).nonzero().squeeze(1);
  EXPECT_GE(taken.size(0), kSample) << "the proposal is too far from the density";
  return proposal.rows.index_select(0, taken.narrow(0, 0, std::min(taken.size(0), kSample)));
}

/// Probability of an energy distance (Székely & Rizzo 2004) between two parts of this size, of a random partition of
/// all rows, that is at least the one between `a` and `b`.
double TwoSampleProbability(const Tensor& a, const Tensor& b) {
  const Tensor both = torch::cat({a, b});
  const Tensor standard = (both - both.mean(0)) / both.std(0);
  const Tensor distance = torch::cdist(standard, standard);
  // With +1 for the rows of one part and -1 for the others, the energy distance is -s^T D s / n^2.
  const Tensor sides = torch::cat({torch::ones({a.size(0)}), -torch::ones({b.size(0)})}).to(torch::kFloat64);
  const Tensor orders = std::get<1>(Normal({both.size(0), kPermutations}, 12).sort(0));
  const Tensor shuffled = sides.index_select(0, orders.flatten()).view_as(orders);
  const auto energy = [&](const Tensor& s) { return -(s * distance.matmul(s)).sum(0); };
  const double actual = energy(sides.unsqueeze(1)).item<double>();
  return (1 + (energy(shuffled) >= actual).sum().item<double>()) / (1 + kPermutations);
}

/// Of samples and rejection samples of `flow`.
double SamplesProbability(Flow& flow) {
  const torch::NoGradGuard no_grad;
  const Tensor sample = SampleOf(flow, 2000);
  return TwoSampleProbability(sample.narrow(0, 0, kSample), RejectionSample(flow, sample));
}

class PresetSamplesTest : public testing::TestWithParam<std::string> {};

TEST_P(PresetSamplesTest, FollowTheDensityInAllColumnsTogether) {
  EXPECT_GT(SamplesProbability(*Random(SpecOf(SmallPreset(GetParam())))), 0.001);
}

INSTANTIATE_TEST_SUITE_P(Presets, PresetSamplesTest, testing::ValuesIn(PresetNames()),
                         [](const auto& info) { return info.param; });

// What a split gives to the base depends on what it leaves to the layers behind it.
TEST(TwoLevelSamplesTest, OfColumnsFollowTheDensityInAllTogether) {
  const std::string network = "conditioner { mlp { hidden: 10 activation: TANH } }";
  const auto flow = Random(ParseSpec("features: 4 layers { coupling { " + network + " } } layers { split { " + network +
                                     " } } layers { coupling { " + network + " } }"));
  EXPECT_GT(SamplesProbability(*flow), 0.001);
}

TEST(TwoLevelSamplesTest, OfPixelsFollowTheDensityInAllTogether) {
  density::v1::Preset preset = SmallPreset("realnvp_image");
  preset.set_levels(2);
  preset.mutable_image()->set_height(4);
  // Eight pixels: weights closer to the identity's, so that enough of what is proposed is taken.
  EXPECT_GT(SamplesProbability(*Random(SpecOf(preset), /*seed=*/7, /*deviation=*/0.08)), 0.001);
}

// So that the test above says something.
TEST(TwoSampleTest, NoticesRowsThatFollowAnotherDensity) {
  const torch::NoGradGuard no_grad;
  const Tensor normal = Normal({2 * kSample, 3}, 1);
  const Tensor a = normal.narrow(0, 0, kSample);
  const Tensor b = normal.narrow(0, kSample, kSample);
  EXPECT_GT(TwoSampleProbability(a, b), 0.001);
  EXPECT_LE(TwoSampleProbability(a, b + 0.3), 0.001);
  EXPECT_LE(TwoSampleProbability(a, 1.4 * b), 0.001);
  // Each column is as it should be, and they belong together.
  const Tensor tied = torch::stack({b.select(1, 0), 0.8 * b.select(1, 0) + 0.6 * b.select(1, 1), b.select(1, 2)}, 1);
  EXPECT_LE(TwoSampleProbability(a, tied), 0.001);
}

TEST(TwoSampleTest, NoticesSamplesOfOtherWeights) {
  const torch::NoGradGuard no_grad;
  for (const std::string name : {"realnvp", "maf", "nsf_ar"}) {
    const auto flow = Random(SpecOf(SmallPreset(name)));
    const auto other = Random(SpecOf(SmallPreset(name)), /*seed=*/700);
    const Tensor expected = RejectionSample(*other, SampleOf(*other, 2000));
    EXPECT_LE(TwoSampleProbability(SampleOf(*flow, kSample), expected), 0.001) << name;
  }
}

}  // namespace
}  // namespace densityd::flow
