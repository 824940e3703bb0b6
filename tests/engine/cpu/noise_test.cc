// Noise of the kernels: the bits of engine/philox.h in every layout and on every target.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "server/engine/cpu/kernels.h"
#include "server/engine/philox.h"

namespace densityd::engine::cpu {
namespace {

/// Every target that this processor has, the portable one included.
class NoiseTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    if ((hwy::SupportedTargets() & GetParam()) == 0) GTEST_SKIP() << "this processor has no such target";
    hwy::GetChosenTarget().Update(GetParam());
  }
  void TearDown() override { hwy::GetChosenTarget().Update(hwy::SupportedTargets()); }
};

/// Fills `area` into memory with the given steps, and compares each number with its definition. What lies between and
/// behind the numbers must not change.
void ExpectDefinition(const NoiseArea& area, size_t row_step, size_t column_step) {
  constexpr float kUntouched = 99;
  std::vector<float> numbers((area.rows - 1) * row_step + (area.columns - 1) * column_step + 50, kUntouched);
  FillNoise(area, numbers.data(), row_step, column_step);
  for (size_t row = 0; row < area.rows; ++row) {
    for (size_t column = 0; column < area.columns; ++column) {
      float& number = numbers[row * row_step + column * column_step];
      ASSERT_EQ(number, static_cast<float>(StandardNormal(area.seed, area.first_row + row, column)))
          << "row " << row << ", column " << column;
      number = kUntouched;
    }
  }
  for (float number : numbers) ASSERT_EQ(number, kUntouched);
}

TEST_P(NoiseTest, HasTheBitsOfItsDefinition) {
  constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max();
  for (uint64_t seed : {uint64_t{0}, uint64_t{0x123456789ABCDEF}, kLargest}) {
    // The low word of the row wraps, and so does the row itself.
    for (uint64_t first_row : {uint64_t{0}, (uint64_t{1} << 32) - 5, kLargest - 3}) {
      for (size_t rows : {1, 3, 8, 11, 64}) {
        for (size_t columns : {1, 2, 5, 16, 37}) {
          const NoiseArea area = {seed, first_row, rows, columns};
          ExpectDefinition(area, 1, 64);
          ExpectDefinition(area, columns + 3, 1);
        }
      }
    }
  }
}

TEST_P(NoiseTest, HasTheBitsOfItsDefinitionForManyNumbers) {
  for (uint64_t seed = 0; seed < 20; ++seed) ExpectDefinition({seed, seed << 20, 64, 301}, 1, 64);
}

INSTANTIATE_TEST_SUITE_P(Targets, NoiseTest, testing::Values(HWY_AVX3, HWY_AVX2, HWY_EMU128),
                         [](const auto& info) { return std::string(hwy::TargetName(info.param)); });

}  // namespace
}  // namespace densityd::engine::cpu
