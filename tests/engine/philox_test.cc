#include "server/engine/philox.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace densityd::engine {
namespace {

constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max();

void ExpectWords(const PhiloxBlock& block, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  EXPECT_EQ(block.word[0], a);
  EXPECT_EQ(block.word[1], b);
  EXPECT_EQ(block.word[2], c);
  EXPECT_EQ(block.word[3], d);
}

// Known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, AgreesWithTheKnownAnswersOfRandom123) {
  ExpectWords(Philox4x32({{0, 0, 0, 0}}, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  ExpectWords(Philox4x32({{~0u, ~0u, ~0u, ~0u}}, kLargest), 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
  ExpectWords(Philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0x299f31d0a4093822), 0xd16cfe09,
              0x94fdcceb, 0x5001e420, 0x24126ea1);
}

TEST(NegativeLog, AgreesWithTheMathematicalLibrary) {
  constexpr uint64_t kOne = uint64_t{1} << 53;
  EXPECT_EQ(philox_internal::NegativeLog(kOne), 0);
  for (uint64_t i = 0; i < 200000; ++i) {
    const PhiloxBlock bits = Philox4x32({{static_cast<uint32_t>(i), 0, 0, 0}}, 1);
    const uint64_t random = (uint64_t{bits.word[1]} << 32 | bits.word[0]) >> 11;
    // All magnitudes, and the neighbourhood of 1 where a careless logarithm loses its digits.
    for (const uint64_t k : {random + 1, (random >> (i % 53)) + 1, kOne - (random >> (i % 53))}) {
      const double expected = static_cast<double>(-std::log(static_cast<long double>(k) * 0x1p-53L));
      EXPECT_NEAR(philox_internal::NegativeLog(k), expected, 5e-16 * expected) << k;
    }
  }
}

TEST(CosineAndSineOfTurn, AgreeWithTheMathematicalLibrary) {
  const long double two_pi = 2 * std::acos(-1.0L);
  for (uint64_t i = 0; i < 200000; ++i) {
    const PhiloxBlock bits = Philox4x32({{static_cast<uint32_t>(i), 0, 0, 0}}, 2);
    uint64_t k = (uint64_t{bits.word[1]} << 32 | bits.word[0]) >> 11;
    if (i < 64) k = (i << 47) - (i % 2);  // near the borders of the quarters
    const long double angle = two_pi * static_cast<long double>(k) * 0x1p-53L;
    double cosine;
    double sine;
    philox_internal::CosineAndSineOfTurn(k, &cosine, &sine);
    EXPECT_NEAR(cosine, static_cast<double>(std::cos(angle)), 3e-16) << k;
    EXPECT_NEAR(sine, static_cast<double>(std::sin(angle)), 3e-16) << k;
  }
}

// The bits are a promise: the same in every replica, on every machine, in every later version.
TEST(StandardNormal, KeepsItsBitsForEver) {
  EXPECT_EQ(StandardNormal(0, 0, 0), -0x1.973628c131c04p-2);
  EXPECT_EQ(StandardNormal(42, 7, 1), 0x1.3755bafb4d07dp+0);
  EXPECT_EQ(StandardNormal(kLargest, kLargest, 65535), -0x1.908a586b47fbdp-3);
}

TEST(StandardNormal, IsFiniteForExtremeArguments) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, kLargest}) {
    for (const uint64_t row : {uint64_t{0}, uint64_t{1} << 32, kLargest}) {
      for (const uint64_t column : {0, 1, 65535}) {
        EXPECT_LE(std::abs(StandardNormal(seed, row, column)), 8.58);
      }
    }
  }
}

TEST(FillStandardNormal, IsTheSameForEveryCutIntoRowsAndColumns) {
  constexpr size_t kRows = 37;
  constexpr uint64_t kFirst = (uint64_t{1} << 32) - 11;  // the low word of the row wraps inside
  for (const size_t cols : {1, 2, 5, 8}) {
    std::vector<double> whole(kRows * cols);
    FillStandardNormal(9, kFirst, kRows, cols, whole.data());
    for (size_t row = 0; row < kRows; ++row) {
      std::vector<float> single(cols);
      FillStandardNormal(9, kFirst + row, 1, cols, single.data());
      for (size_t column = 0; column < cols; ++column) {
        const double value = whole[row * cols + column];
        EXPECT_EQ(value, StandardNormal(9, kFirst + row, column));
        EXPECT_EQ(single[column], static_cast<float>(value));
      }
    }
  }
}

/// Kolmogorov-Smirnov distance of `values` from N(0, 1), times sqrt(n).
double KolmogorovSmirnov(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const double n = static_cast<double>(values.size());
  double distance = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double cdf = 0.5 * std::erfc(-values[i] / std::sqrt(2.0));
    distance = std::max({distance, cdf - i / n, (i + 1) / n - cdf});
  }
  return distance * std::sqrt(n);
}

/// Correlation of two samples of mean 0 and variance 1, times sqrt(n): about N(0, 1) where they are independent.
double ScaledCorrelation(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum / std::sqrt(static_cast<double>(a.size()));
}

class StandardNormalStatistics : public testing::TestWithParam<uint64_t> {
 protected:
  static constexpr size_t kCount = 1 << 17;
  std::vector<double> Column(uint64_t column, uint64_t seed_offset = 0, uint64_t row_offset = 0) const {
    std::vector<double> values(kCount);
    for (size_t row = 0; row < kCount; ++row) {
      values[row] = StandardNormal(GetParam() + seed_offset, row + row_offset, column);
    }
    return values;
  }
};

TEST_P(StandardNormalStatistics, MomentsAreThoseOfTheNormalDistribution) {
  for (const uint64_t column : {0, 1, 6}) {
    double moment[5] = {};
    for (const double value : Column(column)) {
      for (int power = 1; power <= 4; ++power) moment[power] += std::pow(value, power) / kCount;
    }
    const double root = std::sqrt(static_cast<double>(kCount));
    // Five standard errors; Var(x^k) = 1, 2, 15, 96.
    EXPECT_NEAR(moment[1], 0, 5 * 1 / root);
    EXPECT_NEAR(moment[2], 1, 5 * std::sqrt(2.0) / root);
    EXPECT_NEAR(moment[3], 0, 5 * std::sqrt(15.0) / root);
    EXPECT_NEAR(moment[4], 3, 5 * std::sqrt(96.0) / root);
  }
}

TEST_P(StandardNormalStatistics, ColumnsAndRowsAreNormallyDistributed) {
  // P(sqrt(n) D > 2.0) = 7e-4.
  for (const uint64_t column : {0, 1, 2, 9}) EXPECT_LT(KolmogorovSmirnov(Column(column)), 2.0) << column;
  std::vector<double> row(kCount);
  FillStandardNormal(GetParam(), 5, 1, kCount, row.data());
  EXPECT_LT(KolmogorovSmirnov(row), 2.0);
}

TEST_P(StandardNormalStatistics, ColumnsRowsAndSeedsAreIndependent) {
  const std::vector<double> base = Column(0);
  const std::vector<double> others[] = {Column(1),
                                        Column(2),
                                        Column(3),
                                        Column(0, 1),
                                        Column(0, 0, 1),
                                        Column(0, uint64_t{1} << 32),
                                        Column(0, 0, uint64_t{1} << 32)};
  const auto squares = [](std::vector<double> values) {
    for (double& value : values) value = (value * value - 1) / std::sqrt(2.0);
    return values;
  };
  for (const std::vector<double>& other : others) {
    EXPECT_LT(std::abs(ScaledCorrelation(base, other)), 5);
    EXPECT_LT(std::abs(ScaledCorrelation(squares(base), squares(other))), 5);
  }
}

TEST_P(StandardNormalStatistics, TailsAreThere) {
  size_t beyond_three = 0;
  for (const double value : Column(0)) beyond_three += std::abs(value) > 3 ? 1 : 0;
  const double expected = kCount * std::erfc(3 / std::sqrt(2.0));
  EXPECT_NEAR(static_cast<double>(beyond_three), expected, 5 * std::sqrt(expected));
}

INSTANTIATE_TEST_SUITE_P(Seeds, StandardNormalStatistics, testing::Values(0, 1, 0x9E3779B97F4A7C15));

}  // namespace
}  // namespace densityd::engine
