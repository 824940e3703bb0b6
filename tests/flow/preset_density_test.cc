// Every preset is a density: it integrates to one on a grid, and its samples follow it.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/flow/preset_names.h"
#include "server/flow/spec.h"
#include "tests/flow/flow_testing.h"

namespace densityd::flow {
namespace {

struct PresetCase {
  std::string options;
  int64_t features;
  double limit = 12;     // beyond which there is no mass worth counting
  int64_t points = 400;  // of each axis of a plane
};

void PrintTo(const PresetCase& preset, std::ostream* out) { *out << preset.options << ", D = " << preset.features; }

std::vector<PresetCase> Cases() {
  const std::string network = " hidden: [12] activation: TANH";
  std::vector<PresetCase> cases;
  for (int64_t features : {1, 2}) {
    cases.push_back({"name: 'affine'", features});
    cases.push_back({"name: 'elementwise'", features});
    for (const std::string name : {"maf", "iaf", "nsf_ar", "planar", "radial", "residual"}) {
      cases.push_back({"name: '" + name + "' transforms: 3" + network, features});
    }
    // Smooth, and slower than the others.
    for (const std::string name : {"naf", "gaussianization"}) {
      cases.push_back({"name: '" + name + "' transforms: 3" + network, features, 12, 160});
    }
    for (const std::string name : {"ffjord", "flow_matching"}) {
      cases.push_back(
          {"name: '" + name + "' continuous_options { atol: 1e-4 rtol: 1e-4 }" + network, features, 12, 160});
    }
    cases.push_back({"name: 'sylvester' transforms: 3", features});
    cases.push_back({"name: 'circular_nsf' transforms: 2" + network, features, M_PI});
  }
  for (const std::string name : {"nice", "realnvp", "nsf_coupling"}) {
    cases.push_back({"name: '" + name + "' transforms: 3" + network, 2});
  }
  cases.push_back(
      {"name: 'realnvp_image' levels: 1 transforms: 3 image { channels: 1 height: 1 width: 2 }" + network, 2, 12, 160});
  cases.push_back({"name: 'nsf_coupling' spline_of_passed: true transforms: 2" + network, 2});
  cases.push_back({"name: 'maf' transforms: 2 mixing: ROTATION base { gaussian_mixture {} }" + network, 2});
  cases.push_back({"name: 'realnvp' transforms: 2 mixing: HOUSEHOLDER actnorm: true" + network, 2});
  return cases;
}

class PresetDensityTest : public testing::TestWithParam<PresetCase> {
 protected:
  PresetDensityTest() {
    density::v1::Preset preset;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().options + " no_standardize: true", &preset));
    const auto spec = ExpandPreset(preset, static_cast<uint32_t>(GetParam().features), 0);
    EXPECT_TRUE(spec.ok()) << spec.status();
    flow_ = Build(*spec);
    Randomise(*flow_, 0.15);
    flow_->eval();
    // The midpoint rule; splines have corners in their second derivative.
    const int64_t points = GetParam().features == 1 ? 4000 : GetParam().points;
    step_ = 2 * GetParam().limit / static_cast<double>(points);
    const Tensor axis = (torch::arange(points, torch::kFloat64) + 0.5) * step_ - GetParam().limit;
    grid_ = GetParam().features == 1 ? axis.unsqueeze(1) : torch::cartesian_prod({axis, axis});
    log_prob_ = flow_->LogProb(grid_, Tensor());
    mass_ = log_prob_.exp() * std::pow(step_, GetParam().features);
  }

  Tensor Sample(int64_t rows) const {
    const Tensor noise = Normal({rows, NoiseColumns(flow_->spec().base(), GetParam().features)}, 3);
    return flow_->Forward(flow_->BaseFromNoise(noise, Tensor()), Tensor()).value;
  }

  const torch::NoGradGuard no_grad_;
  std::shared_ptr<Flow> flow_;
  double step_ = 0;
  Tensor grid_;
  Tensor log_prob_;
  Tensor mass_;
};

TEST_P(PresetDensityTest, IntegratesToOneAndItsSamplesFollowIt) {
  EXPECT_NEAR(mass_.sum().item<double>(), 1, 0.005);
  const double entropy = -(mass_ * log_prob_.masked_fill(mass_ == 0, 0)).sum().item<double>();
  constexpr int64_t kRows = 4000;
  const Tensor sample = Sample(kRows);
  const Tensor surprise = -flow_->LogProb(sample, Tensor());
  ASSERT_TRUE(surprise.isfinite().all().item<bool>());
  const double error = surprise.std().item<double>() / std::sqrt(kRows);
  EXPECT_NEAR(surprise.mean().item<double>(), entropy, 4 * error + 0.005);

  const int64_t features = GetParam().features;
  for (int64_t column = 0; column < features; ++column) {
    // The mass of each interval of this column, the other one integrated out.
    const int64_t points = features == 1 ? mass_.size(0) : GetParam().points;
    const Tensor of_column = features == 1 ? mass_ : mass_.view({points, points}).sum(1 - column);
    const Tensor cdf = of_column.cumsum(0);
    // Up to the right end of the interval that each number lies in; the mass inside it is shared by proportion.
    const Tensor places =
        ((sample.select(1, column) + GetParam().limit) / step_).clamp(0, static_cast<double>(points) - 1e-9);
    const Tensor index = places.floor().to(torch::kInt64);
    const Tensor rank = cdf.index_select(0, index) - of_column.index_select(0, index) * (1 - (places - places.floor()));
    const Tensor sorted = std::get<0>(rank.sort());
    const Tensor uniform = (torch::arange(kRows, torch::kFloat64) + 0.5) / kRows;
    // Kolmogorov and Smirnov: exceeded with probability 0.001; and the grid's own error.
    EXPECT_LE(MaxAbs(sorted - uniform), 1.95 / std::sqrt(kRows) + 0.002) << "column " << column;
  }
}

INSTANTIATE_TEST_SUITE_P(Presets, PresetDensityTest, testing::ValuesIn(Cases()));

TEST(PresetDensity, NoneIsForgotten) {
  for (const std::string& name : PresetNames()) {
    // On no plane: below.
    if (name == "glow") continue;
    const std::vector<PresetCase> cases = Cases();
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&name](const PresetCase& preset) {
      return preset.options.find("'" + name + "'") != std::string::npos;
    })) << name;
  }
}

// Four pixels are the fewest that `glow` squeezes.
TEST(ImagePreset, IntegratesToOneOverAllImagesOfFourPixels) {
  for (const std::string options : {"name: 'realnvp_image'", "name: 'glow'"}) {
    density::v1::Preset preset;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
        options + " levels: 1 no_standardize: true transforms: 2 hidden: [6] activation: TANH residual_blocks: 1"
                  " image { channels: 1 height: 2 width: 2 }",
        &preset));
    const auto spec = ExpandPreset(preset, 4, 0);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const auto flow = Build(*spec);
    Randomise(*flow, 0.1);
    flow->eval();
    const torch::NoGradGuard no_grad;
    // The midpoint rule is exact to many digits for smooth densities that are wider than the step.
    constexpr int64_t kPoints = 26;
    constexpr double kLimit = 7;
    constexpr double kStep = 2 * kLimit / kPoints;
    const Tensor axis = (torch::arange(kPoints, torch::kFloat64) + 0.5) * kStep - kLimit;
    const Tensor others = torch::cartesian_prod({axis, axis, axis});
    double mass = 0;
    for (int64_t i = 0; i < kPoints; ++i) {
      // One value of the first pixel at a time.
      const Tensor rows =
          torch::cat({torch::full({others.size(0), 1}, axis[i].item<double>(), torch::kFloat64), others}, 1);
      mass += flow->LogProb(rows, Tensor()).exp().sum().item<double>() * std::pow(kStep, 4);
    }
    EXPECT_NEAR(mass, 1, 0.005) << options;
  }
}

}  // namespace
}  // namespace densityd::flow
