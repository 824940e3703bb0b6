// Dropout in compiled steps: what it draws, and that the gradient is that of the function that was drawn.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/train/kernels.h"
#include "server/flow/spec.h"
#include "tests/engine/train/training_models.h"

namespace densityd::engine::train {
namespace {

constexpr size_t kRows = 300;

Model DropoutModel(const std::string& preset, density::v1::Activation activation, double dropout) {
  density::v1::Preset options;
  options.set_name(preset);
  options.set_transforms(3);
  options.add_hidden(24);
  options.set_residual(true);
  options.set_activation(activation);
  options.set_dropout(dropout);
  return cpu::RandomModel(preset, *flow::ExpandPreset(options, 5, 0), 7);
}

class DropoutTest : public testing::Test {
 protected:
  void Use(const Model& model, size_t threads = 1) {
    test_ = std::make_unique<TestPlan>(model, kRows, threads);
    rows_ = EncodedRows(*test_->plan, kRows);
  }

  LossAndNorm Compute(const float* parameters, uint64_t seed, uint64_t number) {
    return test_->plan->ComputeGradient(parameters, {rows_.data(), test_->plan->row_numbers(), indices_, seed, number});
  }

  std::vector<float> Gradient() const {
    return {test_->plan->gradient(), test_->plan->gradient() + test_->plan->layout().size()};
  }

  const std::vector<int64_t> indices_ = Backwards(kRows);
  std::unique_ptr<TestPlan> test_;
  std::vector<float> rows_;
};

TEST_F(DropoutTest, IsAFunctionOfSeedAndStep) {
  const Model model = DropoutModel("maf", density::v1::RELU, 0.2);
  Use(model);
  const double loss = Compute(test_->parameters.data(), 1, 2).loss;
  const std::vector<float> gradient = Gradient();
  EXPECT_NE(Compute(test_->parameters.data(), 1, 3).loss, loss);
  EXPECT_NE(Compute(test_->parameters.data(), 2, 2).loss, loss);
  EXPECT_EQ(Compute(test_->parameters.data(), 1, 2).loss, loss);
  EXPECT_EQ(Gradient(), gradient);
  Use(model, /*threads=*/3);
  EXPECT_EQ(Compute(test_->parameters.data(), 1, 2).loss, loss);
  EXPECT_EQ(Gradient(), gradient);
}

// The loss is a smooth function of the parameters as long as seed and step stay.
TEST_F(DropoutTest, TheGradientIsThatOfTheDrawnNetwork) {
  for (const char* preset : {"realnvp", "maf"}) {
    for (const auto activation : {density::v1::RELU, density::v1::TANH, density::v1::SILU}) {
      Use(DropoutModel(preset, activation, 0.4));
      const size_t size = test_->plan->layout().size();
      const LossAndNorm at = Compute(test_->parameters.data(), 5, 6);
      const std::vector<float> gradient = Gradient();
      // Along the gradient, where the loss changes most.
      cpu::Arena moved(size);
      const double distance = 2e-3;
      double losses[2];
      for (int side = 0; side < 2; ++side) {
        const double by = (side == 0 ? -distance : distance) / at.norm;
        for (size_t i = 0; i < size; ++i) {
          moved.data()[i] = static_cast<float>(test_->parameters.data()[i] + by * gradient[i]);
        }
        losses[side] = Compute(moved.data(), 5, 6).loss;
      }
      const double slope = (losses[1] - losses[0]) / (2 * distance);
      EXPECT_NEAR(slope, at.norm, 0.02 * at.norm) << preset << ", activation " << activation;
    }
  }
}

// What one step makes of ones: (units, rows).
std::vector<float> Drawn(float keep, uint32_t layer, uint32_t units, uint32_t first_row, uint32_t draw_key) {
  DropoutStep step;
  step.keep = keep;
  step.layer = layer;
  step.from = {0, kNoColumn, units};
  step.to = {units, 0, units};
  Program program;
  program.steps.emplace_back(step);
  cpu::Arena memory((3 * units + 2) * kTileRows);
  Tile tile{memory.data(), memory.data() + 2 * units * kTileRows, memory.data() + 3 * units * kTileRows,
            memory.data() + (3 * units + 1) * kTileRows};
  std::fill_n(tile.values, units * kTileRows, 1.0f);
  Shard shard;
  shard.tiles = {&tile, 1};
  shard.first_row = first_row;
  shard.draw_key = draw_key;
  ShardGradient(program, nullptr, shard, nullptr);
  return {tile.values + units * kTileRows, tile.values + 2 * units * kTileRows};
}

double Correlation(const std::vector<float>& a, const std::vector<float>& b, double keep) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] * keep - keep) * (b[i] * keep - keep);
  return sum / (static_cast<double>(a.size()) * keep * (1 - keep));
}

TEST(DropoutStepTest, KeepsTheShareAndTheMean) {
  for (const float keep : {0.5f, 0.8f, 0.99f}) {
    const std::vector<float> drawn = Drawn(keep, 0, 512, 0, 77);
    size_t kept = 0;
    for (const float number : drawn) {
      ASSERT_TRUE(number == 0 || number == 1 / keep) << number;
      kept += number > 0 ? 1 : 0;
    }
    const auto count = static_cast<double>(drawn.size());
    EXPECT_NEAR(static_cast<double>(kept) / count, keep, 4 * std::sqrt(keep * (1 - keep) / count));
  }
}

TEST(DropoutStepTest, DrawsAreIndependent) {
  constexpr uint32_t kUnits = 512;
  const std::vector<float> drawn = Drawn(0.5f, 0, kUnits, 0, 77);
  const double allowed = 4 / std::sqrt(static_cast<double>(drawn.size()));
  EXPECT_NEAR(Correlation(drawn, Drawn(0.5f, 1, kUnits, 0, 77), 0.5), 0, allowed) << "layers";
  EXPECT_NEAR(Correlation(drawn, Drawn(0.5f, 0, kUnits, 64, 77), 0.5), 0, allowed) << "tiles";
  EXPECT_NEAR(Correlation(drawn, Drawn(0.5f, 0, kUnits, 0, 78), 0.5), 0, allowed) << "steps";
  for (const size_t shift : {size_t{1}, size_t{2}, size_t{16}, kTileRows, 2 * kTileRows, 64 * kTileRows}) {
    std::vector<float> moved(drawn.begin() + static_cast<int64_t>(shift), drawn.end());
    moved.insert(moved.end(), drawn.begin(), drawn.begin() + static_cast<int64_t>(shift));
    EXPECT_NEAR(Correlation(drawn, moved, 0.5), 0, allowed) << "numbers " << shift << " apart";
  }
}

}  // namespace
}  // namespace densityd::engine::train
