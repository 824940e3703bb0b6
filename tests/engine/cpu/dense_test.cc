// Matrix products of both layouts against sums in float64.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/cpu/builder.h"
#include "server/engine/cpu/kernels.h"
#include "server/engine/philox.h"

namespace densityd::engine::cpu {
namespace {

/// A linear layer with random weights; `masked`: unit i of n depends on the first i k / n inputs.
Linear RandomLinear(size_t units, size_t inputs, bool masked) {
  Linear linear;
  linear.weight = Matrix64(units, inputs);
  linear.bias.resize(units);
  FillStandardNormal(1, 0, units, inputs, linear.weight.values.data());
  FillStandardNormal(2, 0, 1, units, linear.bias.data());
  if (!masked) return linear;
  for (size_t k = 0; k < inputs; ++k) linear.input_degrees.push_back(static_cast<int64_t>(k + 1));
  for (size_t i = 0; i < units; ++i) {
    linear.degrees.push_back(static_cast<int64_t>(i * inputs / units));
    for (size_t k = linear.Reach(i); k < inputs; ++k) linear.weight(i, k) = 0;
  }
  return linear;
}

double Activate(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kIdentity:
      return x;
    case ActivationKind::kRelu:
      return x > 0 ? x : 0;
    case ActivationKind::kTanh:
      return std::tanh(x);
    case ActivationKind::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case ActivationKind::kSilu:
      return x / (1 + std::exp(-x));
    case ActivationKind::kLeakyRelu:
      return x < 0 ? 0.01 * x : x;
    case ActivationKind::kElu:
      return x < 0 ? std::expm1(x) : x;
  }
  return 0;
}

/// A linear layer as steps of one layout, each for a part of the inputs.
class DenseProgram {
 public:
  DenseProgram(const Linear& linear, ActivationKind activation, size_t parts, Layout layout) {
    PackedWeights packed;
    ProgramBuilder builder(layout, packed);
    DensePart part;
    part.units = {0, linear.units()};
    part.input_column = input_ = builder.Allocate(linear.inputs());
    part.output_column = output_ = builder.Allocate(linear.units());
    part.sparse_input = true;
    for (size_t i = 0; i < parts; ++i) {
      part.inputs = {linear.inputs() * i / parts, linear.inputs() * (i + 1) / parts};
      part.accumulate = i > 0;
      part.activation = i + 1 == parts ? activation : ActivationKind::kIdentity;
      builder.Dense(linear, part);
    }
    program_ = builder.Take();
    panels_ = Copy(packed.panels);
    strips_ = Copy(packed.strips);
    biases_ = Copy(packed.biases);
    weights_ = {panels_.data(), strips_.data(), biases_.data()};
  }

  const Program& program() const { return program_; }
  const Weights& weights() const { return weights_; }
  Column input() const { return input_; }
  Column output() const { return output_; }

 private:
  static Arena Copy(const std::vector<float>& numbers) {
    Arena arena(numbers.size() + kLine);
    std::copy(numbers.begin(), numbers.end(), arena.data());
    return arena;
  }

  Program program_;
  Column input_ = 0;
  Column output_ = 0;
  Arena panels_, strips_, biases_;
  Weights weights_;
};

/// A linear layer in both layouts, with inputs of which about half are zero, as behind a ReLU.
class DenseLayer {
 public:
  DenseLayer(const Linear& linear, ActivationKind activation, size_t parts)
      : linear_(linear),
        activation_(activation),
        tile_(linear, activation, parts, Layout::kTile),
        rows_(linear, activation, parts, Layout::kRows) {}

  /// Largest error over all units of `rows` rows, relative to the sum of the magnitudes that were added.
  double TileError(size_t rows) const {
    const Arena table((tile_.program().columns + 1) * kTileRows);
    return Error(tile_, {const_cast<float*>(table.data()) + kTileRows, 1, kTileRows}, rows, [&](float* numbers) {
      RunTile(tile_.program(), tile_.weights(), {numbers, numbers - kTileRows, rows});
    });
  }

  double FewRowsError(size_t rows) const {
    const size_t columns = rows_.program().columns;
    const Arena table(columns * (kMaxFewRows + 1));
    std::vector<float> log(kMaxFewRows);
    std::vector<uint32_t> inputs(columns);
    return Error(rows_, {const_cast<float*>(table.data()), columns, 1}, rows, [&](float* numbers) {
      RunFewRows(rows_.program(), rows_.weights(), {numbers, log.data(), inputs.data(), rows, columns});
    });
  }

 private:
  struct Place {
    float* numbers;
    size_t row_step;
    size_t column_step;
    float& operator()(size_t row, size_t column) const { return numbers[row * row_step + column * column_step]; }
  };

  template <typename Run>
  double Error(const DenseProgram& program, Place place, size_t rows, const Run& run) const {
    for (size_t row = 0; row < rows; ++row) {
      for (size_t k = 0; k < linear_.inputs(); ++k) {
        place(row, program.input() + k) = static_cast<float>(std::fmax(0, StandardNormal(3, row, k)));
      }
    }
    run(place.numbers);
    double worst = 0;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t unit = 0; unit < linear_.units(); ++unit) {
        double sum = linear_.bias[unit];
        double magnitude = std::abs(sum);
        for (size_t k = 0; k < linear_.inputs(); ++k) {
          const double product = linear_.weight(unit, k) * place(row, program.input() + k);
          sum += product;
          magnitude += std::abs(product);
        }
        const double error = std::abs(place(row, program.output() + unit) - Activate(activation_, sum));
        worst = std::max(worst, error / magnitude);
      }
    }
    return worst;
  }

  const Linear& linear_;
  ActivationKind activation_;
  DenseProgram tile_;
  DenseProgram rows_;
};

/// Every target that this processor has, the portable one included.
class DenseTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    if ((hwy::SupportedTargets() & GetParam()) == 0) GTEST_SKIP() << "this processor has no such target";
    hwy::GetChosenTarget().Update(GetParam());
  }
  void TearDown() override { hwy::GetChosenTarget().Update(hwy::SupportedTargets()); }
};

/// Rounding once for each of up to 1000 inputs, and what an activation adds.
constexpr double kBound = 1e-6;

TEST_P(DenseTest, ProductsOfOddSizesAreThoseOfFloat64) {
  for (size_t units : {1, 2, 3, 5, 6, 7, 13, 16, 17, 50, 129, 300}) {
    for (size_t inputs : {1, 2, 6, 17, 63, 200}) {
      for (bool masked : {false, true}) {
        const Linear linear = RandomLinear(units, inputs, masked);
        const DenseLayer layer(linear, ActivationKind::kRelu, 1);
        const std::string what = std::to_string(units) + " units, " + std::to_string(inputs) + " inputs";
        for (size_t rows : {9, 16, 33, 50, 64}) EXPECT_LE(layer.TileError(rows), kBound) << what << ", rows " << rows;
        for (size_t rows : {1, 2, 4, 8}) EXPECT_LE(layer.FewRowsError(rows), kBound) << what << ", rows " << rows;
      }
    }
  }
}

TEST_P(DenseTest, InputsBeyondTheCacheAreTakenInChunks) {
  const Linear linear = RandomLinear(40, 1700, false);
  const DenseLayer layer(linear, ActivationKind::kTanh, 1);
  EXPECT_LE(layer.TileError(64), kBound);
  EXPECT_LE(layer.FewRowsError(1), kBound);
}

TEST_P(DenseTest, PartsOfTheInputsAddUp) {
  for (bool masked : {false, true}) {
    const Linear linear = RandomLinear(70, 90, masked);
    const DenseLayer layer(linear, ActivationKind::kRelu, 3);
    for (size_t rows : {17, 64}) EXPECT_LE(layer.TileError(rows), kBound);
    for (size_t rows : {1, 8}) EXPECT_LE(layer.FewRowsError(rows), kBound);
  }
}

TEST_P(DenseTest, EveryActivationIsItsFunction) {
  const Linear linear = RandomLinear(31, 20, false);
  for (ActivationKind kind :
       {ActivationKind::kIdentity, ActivationKind::kRelu, ActivationKind::kTanh, ActivationKind::kGelu,
        ActivationKind::kSilu, ActivationKind::kLeakyRelu, ActivationKind::kElu}) {
    const DenseLayer layer(linear, kind, 1);
    EXPECT_LE(layer.TileError(64), kBound) << static_cast<int>(kind);
    EXPECT_LE(layer.FewRowsError(2), kBound) << static_cast<int>(kind);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, DenseTest, testing::Values(HWY_AVX3, HWY_AVX2, HWY_EMU128),
                         [](const auto& info) { return std::string(hwy::TargetName(info.param)); });

}  // namespace
}  // namespace densityd::engine::cpu
