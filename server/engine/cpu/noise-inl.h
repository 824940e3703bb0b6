// Standard normal noise, lane by lane, with the bits of engine/philox.h: see there what is computed and why. Included
// once per SIMD target.

#if defined(DENSITYD_ENGINE_CPU_NOISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_CPU_NOISE_INL_H_
#undef DENSITYD_ENGINE_CPU_NOISE_INL_H_
#else
#define DENSITYD_ENGINE_CPU_NOISE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "server/engine/cpu/kernels.h"
#include "server/engine/philox.h"

// The noise is defined by fused multiply-adds: where a target has none, there is nothing to repeat lane by lane.
#if HWY_NATIVE_FMA

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DoubleTag = hn::ScalableTag<double>;
using WordTag = hn::RebindToUnsigned<DoubleTag>;
using DoubleVector = hn::Vec<DoubleTag>;
using WordVector = hn::Vec<WordTag>;
inline constexpr size_t kDoubleLanes = HWY_LANES(double);

/// The low halves of the words times `factor`: 64 bits each.
HWY_INLINE WordVector MultiplyLowHalves(WordVector words, uint32_t factor) {
  const hn::Repartition<uint32_t, WordTag> d32;
  return hn::MulEven(hn::BitCast(d32, words), hn::Set(d32, factor));
}

/// 64 random bits twice per lane: the output of Philox4x32 for the counters (row, block, stream kBase).
struct RandomBits {
  WordVector first;
  WordVector second;

  HWY_INLINE RandomBits(uint64_t seed, WordVector rows, WordVector blocks) {
    const WordTag d;
    // Only the low halves of the words count; the high ones may hold anything.
    WordVector word[4] = {rows, hn::ShiftRight<32>(rows), blocks,
                          hn::Set(d, static_cast<uint64_t>(NoiseStream::kBase))};
    auto key0 = static_cast<uint32_t>(seed);
    auto key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const WordVector product0 = MultiplyLowHalves(word[0], kPhiloxFactor0);
      const WordVector product1 = MultiplyLowHalves(word[2], kPhiloxFactor1);
      word[0] = hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), word[1]), hn::Set(d, uint64_t{key0}));
      word[1] = product1;
      word[2] = hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), word[3]), hn::Set(d, uint64_t{key1}));
      word[3] = product0;
      key0 += kPhiloxKeyStep0;
      key1 += kPhiloxKeyStep1;
    }
    const WordVector low = hn::Set(d, uint64_t{0xFFFFFFFF});
    first = hn::Or(hn::ShiftLeft<32>(word[1]), hn::And(word[0], low));
    second = hn::Or(hn::ShiftLeft<32>(word[3]), hn::And(word[2], low));
  }
};

/// Whole numbers below 2^63 as doubles.
HWY_INLINE DoubleVector ToDouble(WordVector whole) {
  return hn::ConvertTo(DoubleTag(), hn::BitCast(hn::RebindToSigned<DoubleTag>(), whole));
}

template <int kCount>
HWY_INLINE DoubleVector NoisePolynomial(const philox_internal::Series<kCount>& series, DoubleVector x) {
  const DoubleTag d;
  DoubleVector sum = hn::Set(d, series.coefficients[kCount - 1]);
#pragma GCC unroll 16
  for (int i = kCount - 2; i >= 0; --i) sum = hn::MulAdd(sum, x, hn::Set(d, series.coefficients[i]));
  return sum;
}

/// philox_internal::NegativeLog.
HWY_INLINE DoubleVector NegativeLogs(WordVector k) {
  const DoubleTag d;
  const WordTag dw;
  const DoubleVector one = hn::Set(d, 1.0);
  const WordVector bits = hn::BitCast(dw, ToDouble(k));
  const WordVector mantissa = hn::Or(hn::And(bits, hn::Set(dw, uint64_t{0x000FFFFFFFFFFFFF})), hn::BitCast(dw, one));
  DoubleVector m = hn::BitCast(d, mantissa);
  DoubleVector exponent = hn::Sub(ToDouble(hn::ShiftRight<52>(bits)), hn::Set(d, 1023.0 + 53.0));
  const auto large = hn::Gt(m, hn::Set(d, philox_internal::kSqrt2));
  m = hn::IfThenElse(large, hn::Mul(m, hn::Set(d, 0.5)), m);
  exponent = hn::Add(exponent, hn::IfThenElseZero(large, one));
  const DoubleVector s = hn::Div(hn::Sub(m, one), hn::Add(m, one));
  const DoubleVector log_m = hn::Mul(hn::Add(s, s), NoisePolynomial(philox_internal::AtanhSeries(), hn::Mul(s, s)));
  return hn::NegMulSub(hn::Set(d, philox_internal::kLog2), exponent, log_m);
}

struct NormalPairs {
  DoubleVector first;
  DoubleVector second;
};

/// The noise of columns 2 * block and 2 * block + 1 of each row.
HWY_INLINE NormalPairs StandardNormalPairs(uint64_t seed, WordVector rows, WordVector blocks) {
  const DoubleTag d;
  const WordTag dw;
  const RandomBits bits(seed, rows, blocks);
  const WordVector one = hn::Set(dw, uint64_t{1});
  const DoubleVector log = NegativeLogs(hn::Add(hn::ShiftRight<11>(bits.first), one));
  const DoubleVector radius = hn::Sqrt(hn::Add(log, log));
  // philox_internal::CosineAndSineOfTurn.
  const WordVector k = hn::ShiftRight<11>(bits.second);
  const WordVector quarter = hn::ShiftRight<51>(hn::Add(k, hn::Set(dw, uint64_t{1} << 50)));
  const DoubleVector rest = ToDouble(hn::Sub(k, hn::ShiftLeft<51>(quarter)));
  const DoubleVector angle = hn::Mul(hn::Set(d, philox_internal::kTwoPi), hn::Mul(rest, hn::Set(d, 0x1p-53)));
  const DoubleVector square = hn::Mul(angle, angle);
  const DoubleVector c = NoisePolynomial(philox_internal::CosineSeries(), square);
  const DoubleVector s = hn::Mul(angle, NoisePolynomial(philox_internal::SineSeries(), square));
  const auto swapped = hn::MaskFromVec(hn::BitCast(d, hn::Sub(hn::Zero(dw), hn::And(quarter, one))));
  const WordVector two = hn::Set(dw, uint64_t{2});
  const auto sign = [&](WordVector turns) { return hn::BitCast(d, hn::ShiftLeft<62>(hn::And(turns, two))); };
  const DoubleVector cosine = hn::Xor(hn::IfThenElse(swapped, s, c), sign(hn::Add(quarter, one)));
  const DoubleVector sine = hn::Xor(hn::IfThenElse(swapped, c, s), sign(quarter));
  return {hn::Mul(radius, cosine), hn::Mul(radius, sine)};
}

/// The first `count` numbers, rounded to float32.
HWY_INLINE void StoreRounded(DoubleVector numbers, size_t count, float* to) {
  const hn::Rebind<float, DoubleTag> d;
  const auto rounded = hn::DemoteTo(d, numbers);
  if (count >= kDoubleLanes) return hn::StoreU(rounded, d, to);
  HWY_ALIGN float lanes[kDoubleLanes];
  hn::Store(rounded, d, lanes);
  std::copy_n(lanes, count, to);
}

/// Rows as lanes, for a layout in which the rows of a column are neighbours.
HWY_INLINE void FillNoiseOfColumns(const NoiseArea& area, float* out, size_t column_step) {
  const WordTag dw;
  for (size_t column = 0; column < area.columns; column += 2) {
    float* to = out + column * column_step;
    for (size_t row = 0; row < area.rows; row += kDoubleLanes) {
      const NormalPairs pairs = StandardNormalPairs(area.seed, hn::Iota(dw, area.first_row + row),
                                                    hn::Set(dw, static_cast<uint64_t>(column / 2)));
      StoreRounded(pairs.first, area.rows - row, to + row);
      if (column + 1 < area.columns) StoreRounded(pairs.second, area.rows - row, to + column_step + row);
    }
  }
}

/// Pairs of columns as lanes, for a layout in which the columns of a row are neighbours.
HWY_INLINE void FillNoiseOfRows(const NoiseArea& area, float* out, size_t row_step) {
  const WordTag dw;
  for (size_t row = 0; row < area.rows; ++row) {
    float* to = out + row * row_step;
    for (size_t column = 0; column < area.columns; column += 2 * kDoubleLanes) {
      const NormalPairs pairs = StandardNormalPairs(area.seed, hn::Set(dw, area.first_row + row),
                                                    hn::Iota(dw, static_cast<uint64_t>(column / 2)));
      HWY_ALIGN float first[kDoubleLanes];
      HWY_ALIGN float second[kDoubleLanes];
      StoreRounded(pairs.first, kDoubleLanes, first);
      StoreRounded(pairs.second, kDoubleLanes, second);
      const size_t count = std::min(2 * kDoubleLanes, area.columns - column);
      for (size_t j = 0; j < count; ++j) to[column + j] = (j % 2 == 0 ? first : second)[j / 2];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // HWY_NATIVE_FMA

#endif  // DENSITYD_ENGINE_CPU_NOISE_INL_H_
