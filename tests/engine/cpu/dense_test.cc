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

/// One dense step on its own, with inputs of which about half are zero, as behind a ReLU.
class DenseProgram {
 public:
  DenseProgram(const Linear& linear, ActivationKind activation, size_t parts)
      : linear_(linear), activation_(activation) {
    PackedWeights packed;
    ProgramBuilder builder(packed);
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

  /// Largest error over all units of `rows` rows, relative to the sum of the magnitudes that were added.
  double TileError(size_t rows) const {
    const Arena table((program_.columns + 1) * kTileRows);
    return Error({const_cast<float*>(table.data()) + kTileRows, 1, kTileRows}, rows, [&](float* numbers) {
      RunTile(program_, weights_, {numbers, numbers - kTileRows, rows});
    });
  }

  double FewRowsError(size_t rows) const {
    const Arena table(program_.columns * (kMaxFewRows + 1));
    std::vector<float> log(kMaxFewRows);
    std::vector<uint32_t> inputs(program_.columns);
    return Error({const_cast<float*>(table.data()), program_.columns, 1}, rows, [&](float* numbers) {
      RunFewRows(program_, weights_, {numbers, log.data(), inputs.data(), rows, program_.columns});
    });
  }

 private:
  struct Place {
    float* numbers;
    size_t row_step;
    size_t column_step;
    float& operator()(size_t row, size_t column) const { return numbers[row * row_step + column * column_step]; }
  };

  static Arena Copy(const std::vector<float>& numbers) {
    Arena arena(numbers.size() + kLine);
    std::copy(numbers.begin(), numbers.end(), arena.data());
    return arena;
  }

  template <typename Run>
  double Error(Place place, size_t rows, const Run& run) const {
    for (size_t row = 0; row < rows; ++row) {
      for (size_t k = 0; k < linear_.inputs(); ++k) {
        place(row, input_ + k) = static_cast<float>(std::fmax(0, StandardNormal(3, row, k)));
      }
    }
    run(place.numbers);
    double worst = 0;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t unit = 0; unit < linear_.units(); ++unit) {
        double sum = linear_.bias[unit];
        double magnitude = std::abs(sum);
        for (size_t k = 0; k < linear_.inputs(); ++k) {
          const double product = linear_.weight(unit, k) * place(row, input_ + k);
          sum += product;
          magnitude += std::abs(product);
        }
        worst = std::max(worst, std::abs(place(row, output_ + unit) - Activate(activation_, sum)) / magnitude);
      }
    }
    return worst;
  }

  const Linear& linear_;
  ActivationKind activation_;
  Program program_;
  Column input_ = 0;
  Column output_ = 0;
  Arena panels_, strips_, biases_;
  Weights weights_;
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
        const DenseProgram program(linear, ActivationKind::kRelu, 1);
        const std::string what = std::to_string(units) + " units, " + std::to_string(inputs) + " inputs";
        for (size_t rows : {9, 16, 33, 50, 64}) EXPECT_LE(program.TileError(rows), kBound) << what << ", rows " << rows;
        for (size_t rows : {1, 2, 4, 8}) EXPECT_LE(program.FewRowsError(rows), kBound) << what << ", rows " << rows;
      }
    }
  }
}

TEST_P(DenseTest, InputsBeyondTheCacheAreTakenInChunks) {
  const Linear linear = RandomLinear(40, 1700, false);
  const DenseProgram program(linear, ActivationKind::kTanh, 1);
  EXPECT_LE(program.TileError(64), kBound);
  EXPECT_LE(program.FewRowsError(1), kBound);
}

TEST_P(DenseTest, PartsOfTheInputsAddUp) {
  for (bool masked : {false, true}) {
    const Linear linear = RandomLinear(70, 90, masked);
    const DenseProgram program(linear, ActivationKind::kRelu, 3);
    for (size_t rows : {17, 64}) EXPECT_LE(program.TileError(rows), kBound);
    for (size_t rows : {1, 8}) EXPECT_LE(program.FewRowsError(rows), kBound);
  }
}

TEST_P(DenseTest, EveryActivationIsItsFunction) {
  const Linear linear = RandomLinear(31, 20, false);
  for (ActivationKind kind :
       {ActivationKind::kIdentity, ActivationKind::kRelu, ActivationKind::kTanh, ActivationKind::kGelu,
        ActivationKind::kSilu, ActivationKind::kLeakyRelu, ActivationKind::kElu}) {
    const DenseProgram program(linear, kind, 1);
    EXPECT_LE(program.TileError(64), kBound) << static_cast<int>(kind);
    EXPECT_LE(program.FewRowsError(2), kBound) << static_cast<int>(kind);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, DenseTest, testing::Values(HWY_AVX3, HWY_AVX2, HWY_EMU128),
                         [](const auto& info) { return std::string(hwy::TargetName(info.param)); });

}  // namespace
}  // namespace densityd::engine::cpu
