// Noise as a pure function: standard normal numbers that depend on (seed, row, column) and on nothing else.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with
//   key     = seed
//   counter = (row, low word | row, high word | column / 2 | stream)
// gives 4 x 32 bits, which make two uniforms of 53 bits and, by Box and Muller's transform, the normal numbers of two
// neighbouring columns. So a row of a sample has the same noise in any batch, chunk, thread or replica.
//
// The transform uses only IEEE 754 additions, multiplications, square roots and *explicit* fused multiply-adds, in a
// fixed order. Its bits are therefore the same on every CPU and GPU that follows IEEE 754, whatever the mathematical
// library, and vector code can repeat it lane by lane. Compiles as CUDA device code too.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define DENSITYD_HOST_DEVICE __host__ __device__
#else
#define DENSITYD_HOST_DEVICE
#endif

namespace densityd::engine {

/// The four words of a Philox counter, or of its output.
struct PhiloxBlock {
  uint32_t word[4];
};

inline constexpr int kPhiloxRounds = 10;
inline constexpr uint32_t kPhiloxFactor0 = 0xD2511F53;
inline constexpr uint32_t kPhiloxFactor1 = 0xCD9E8D57;
inline constexpr uint32_t kPhiloxKeyStep0 = 0x9E3779B9;  ///< Weyl sequences: the golden ratio
inline constexpr uint32_t kPhiloxKeyStep1 = 0xBB67AE85;  ///< and sqrt(3) - 1

/// Philox4x32 with 10 rounds: a bijection of counters for every key.
DENSITYD_HOST_DEVICE inline PhiloxBlock Philox4x32(PhiloxBlock counter, uint64_t key) {
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = uint64_t{kPhiloxFactor0} * counter.word[0];
    const uint64_t product1 = uint64_t{kPhiloxFactor1} * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += kPhiloxKeyStep0;
    key1 += kPhiloxKeyStep1;
  }
  return counter;
}

namespace philox_internal {

inline constexpr double kLog2 = 0.693147180559945309417232;
inline constexpr double kTwoPi = 6.28318530717958647692529;
inline constexpr double kSqrt2 = 1.4142135623730951;

/// Coefficients in powers of the square. From functions, because device code cannot see arrays of the host.
template <int kCount>
struct Series {
  double coefficients[kCount];
};

/// Taylor series of atanh(s) / s.
DENSITYD_HOST_DEVICE constexpr Series<12> AtanhSeries() {
  return {
      {1.0, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23}};
}

/// Taylor series of cos x.
DENSITYD_HOST_DEVICE constexpr Series<10> CosineSeries() {
  return {{1.0, -1.0 / 2, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200,
           1.0 / 20922789888000, -1.0 / 6402373705728000}};
}

/// Taylor series of sin(x) / x.
DENSITYD_HOST_DEVICE constexpr Series<10> SineSeries() {
  return {{1.0, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000,
           1.0 / 355687428096000, -1.0 / 121645100408832000}};
}

/// Horner's rule with fused multiply-adds: c[0] + c[1] x + …
template <int kCount>
DENSITYD_HOST_DEVICE inline double Polynomial(const Series<kCount>& series, double x) {
  double sum = series.coefficients[kCount - 1];
  for (int i = kCount - 2; i >= 0; --i) sum = std::fma(sum, x, series.coefficients[i]);
  return sum;
}

/// -log(k / 2^53) for k in [1, 2^53], to about 2 ulp: log m = 2 atanh(s) with s = (m - 1) / (m + 1) and m within
/// [sqrt(1/2), sqrt(2)], by the Taylor series of atanh.
DENSITYD_HOST_DEVICE inline double NegativeLog(uint64_t k) {
  constexpr Series<12> kAtanh = AtanhSeries();
  constexpr uint64_t kOneBits = 0x3FF0000000000000;
  const double value = static_cast<double>(k);
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  int exponent = static_cast<int>(bits >> 52) - 1023 - 53;
  bits = (bits & 0x000FFFFFFFFFFFFF) | kOneBits;
  double m;
  std::memcpy(&m, &bits, sizeof(m));
  if (m > kSqrt2) {
    m = m * 0.5;
    exponent += 1;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double log_m = (s + s) * Polynomial(kAtanh, s * s);
  return std::fma(-kLog2, static_cast<double>(exponent), -log_m);
}

/// Cosine and sine of 2 pi k / 2^53 for k in [0, 2^53), to about 1 ulp of 1: the nearest quarter turn is taken off
/// exactly, and Taylor series of the rest, at most an eighth of a turn, remain.
DENSITYD_HOST_DEVICE inline void CosineAndSineOfTurn(uint64_t k, double* cosine, double* sine) {
  constexpr Series<10> kCosine = CosineSeries();
  constexpr Series<10> kSine = SineSeries();
  const uint64_t quarter = (k + (uint64_t{1} << 50)) >> 51;  // 0 … 4
  const int64_t rest = static_cast<int64_t>(k) - static_cast<int64_t>(quarter << 51);
  const double angle = kTwoPi * (static_cast<double>(rest) * 0x1p-53);
  const double square = angle * angle;
  const double c = Polynomial(kCosine, square);
  const double s = angle * Polynomial(kSine, square);
  const bool swapped = (quarter & 1) != 0;
  *cosine = swapped ? s : c;
  *sine = swapped ? c : s;
  if (((quarter + 1) & 2) != 0) *cosine = -*cosine;
  if ((quarter & 2) != 0) *sine = -*sine;
}

}  // namespace philox_internal

/// What the noise is for. Streams of one seed are independent.
enum class NoiseStream : uint32_t {
  kBase = 0,  ///< the base distribution's noise of a sample
};

/// Standard normal numbers of columns 2 * block and 2 * block + 1.
struct NormalPair {
  double first;
  double second;
};

DENSITYD_HOST_DEVICE inline NormalPair StandardNormalPair(uint64_t seed, uint64_t row, uint32_t block,
                                                          NoiseStream stream = NoiseStream::kBase) {
  const PhiloxBlock bits = Philox4x32(
      {{static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32), block, static_cast<uint32_t>(stream)}}, seed);
  const uint64_t first = uint64_t{bits.word[1]} << 32 | bits.word[0];
  const uint64_t second = uint64_t{bits.word[3]} << 32 | bits.word[2];
  // The first uniform lies within (0, 1], so that its logarithm is finite: |normal| <= sqrt(106 log 2) = 8.57.
  const double radius = std::sqrt(2.0 * philox_internal::NegativeLog((first >> 11) + 1));
  double cosine;
  double sine;
  philox_internal::CosineAndSineOfTurn(second >> 11, &cosine, &sine);
  return {radius * cosine, radius * sine};
}

/// Standard normal number of (seed, row, column): a pure function. Precondition: column < 2^33.
DENSITYD_HOST_DEVICE inline double StandardNormal(uint64_t seed, uint64_t row, uint64_t column,
                                                  NoiseStream stream = NoiseStream::kBase) {
  const NormalPair pair = StandardNormalPair(seed, row, static_cast<uint32_t>(column / 2), stream);
  return column % 2 == 0 ? pair.first : pair.second;
}

/// Rows first_row … first_row + rows - 1 of the seed's noise into `out`, row-major (rows, cols).
template <typename Number>
inline void FillStandardNormal(uint64_t seed, uint64_t first_row, size_t rows, size_t cols, Number* out) {
  for (size_t row = 0; row < rows; ++row) {
    for (size_t column = 0; column < cols; column += 2) {
      const NormalPair pair = StandardNormalPair(seed, first_row + row, static_cast<uint32_t>(column / 2));
      *out++ = static_cast<Number>(pair.first);
      if (column + 1 < cols) *out++ = static_cast<Number>(pair.second);
    }
  }
}

}  // namespace densityd::engine
