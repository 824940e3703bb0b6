// Elementary functions of float vectors, lane by lane. Included once per SIMD target.
//
// Only IEEE additions, multiplications, divisions, roundings and fused multiply-adds in a fixed order: AVX2, AVX-512
// and NEON give the same bits. The portable target has no fused multiply-add; its last bits may differ. NaN stays NaN.
// Bounds on the error, in units in the last place, are tested in tests/engine/cpu/math_test.cc.

#if defined(DENSITYD_ENGINE_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DENSITYD_ENGINE_CPU_MATH_INL_H_
#undef DENSITYD_ENGINE_CPU_MATH_INL_H_
#else
#define DENSITYD_ENGINE_CPU_MATH_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Horner's rule, highest power first.
template <class D, class V, typename... Rest>
HWY_INLINE V Polynomial(D d, V x, float highest, Rest... rest) {
  V sum = hn::Set(d, highest);
  ((sum = hn::MulAdd(sum, x, hn::Set(d, rest))), ...);
  return sum;
}

/// e^r - 1 = r + r^2 q(r) for |r| <= log(2) / 2, q minimax; the error of e^r is below 1e-8.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Expm1OfReduced(D d, V r) {
  const V q = Polynomial(d, r, 1.392625083e-3f, 8.363232884e-3f, 4.166655421e-2f, 1.666657667e-1f, 0.5f);
  return hn::MulAdd(hn::Mul(r, r), q, r);
}

/// x = n log 2 + r with |r| <= log(2) / 2.
template <class D, class V = hn::Vec<D>>
struct ExpParts {
  V n;
  V expm1_r;
};

template <class D, class V = hn::Vec<D>>
HWY_INLINE ExpParts<D> ReduceExp(D d, V x) {
  const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);  // log 2 in two parts: the first product is exact
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  return {n, Expm1OfReduced(d, r)};
}

/// 2^n for whole n within [-126, 127].
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfTwo(D d, V n) {
  const hn::RebindToSigned<D> di;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
}

/// e^x. Gradual underflow; infinity beyond 88.72. At most 2 ulp (normal results).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const V bounded = hn::Max(hn::Set(d, -104.0f), hn::Min(hn::Set(d, 89.0f), x));
  const ExpParts<D> parts = ReduceExp(d, bounded);
  // In two factors, so that neither 2^128 nor a denormal has to be built.
  const V half = hn::Floor(hn::Mul(parts.n, hn::Set(d, 0.5f)));
  const V value = hn::Mul(hn::Add(hn::Set(d, 1.0f), parts.expm1_r), PowerOfTwo(d, half));
  const V result = hn::Mul(value, PowerOfTwo(d, hn::Sub(parts.n, half)));
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

/// Added to a number, this rounds it to eighths, and leaves their count in the last bits.
inline constexpr float kToEighths = 1572864.0f;  // 1.5 2^20

/// 2^x for whole eighths x within [-126, 127], given as x + kToEighths.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfEighths(D d, V shifted) {
  const hn::RebindToSigned<D> di;
  // Entry j: the bits of 2^(j / 8), less j 2^20. For a count n = 8 e + j of eighths, adding n 2^20 gives the j 2^20
  // back, and adds e to the exponent.
  HWY_ALIGN static constexpr int32_t kTable[16] = {
      0x3F800000, 0x3F7B95C2, 0x3F7837F0, 0x3F75FED7, 0x3F7504F3, 0x3F75672A, 0x3F7744FD, 0x3F7AC0C7,
      0x3F800000, 0x3F7B95C2, 0x3F7837F0, 0x3F75FED7, 0x3F7504F3, 0x3F75672A, 0x3F7744FD, 0x3F7AC0C7};
  const auto count = hn::BitCast(di, shifted);
  // A permutation of lanes looks at the last bits of its indices alone.
#if HWY_TARGET <= HWY_AVX3
  const auto entry = hn::TableLookupLanes(hn::Load(di, kTable), hn::Indices512<int32_t>{count.raw});
#elif HWY_TARGET == HWY_AVX2
  const auto entry = hn::TableLookupLanes(hn::Load(di, kTable), hn::Indices256<int32_t>{count.raw});
#else
  const auto entry = hn::GatherIndex(di, kTable, hn::And(count, hn::Set(di, 7)));
#endif
  return hn::BitCast(d, hn::Add(entry, hn::ShiftLeft<20>(count)));
}

/// 2^x for |x| <= 126. At most 2 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2OfBounded(D d, V x) {
  const V shift = hn::Set(d, kToEighths);
  const V shifted = hn::Add(x, shift);
  const V r = hn::Sub(x, hn::Sub(shifted, shift));
  const V power = PowerOfEighths(d, shifted);
  // (2^r - 1) / r, minimax for |r| <= 1 / 16; the error of 2^r is below 3e-8.
  const V q = Polynomial(d, r, 5.54962233e-2f, 2.40257636e-1f, 6.93147242e-1f);
  return hn::MulAdd(hn::Mul(power, r), q, power);
}

/// 2^x for x <= 0; below -126, where it is of no use to a sum, 2^-126. At most 2 ulp. A third of Exp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp2OfNegative(D d, V x) {
  return Exp2OfBounded(d, hn::Max(hn::Set(d, -126.0f), x));
}

/// e^x for x <= 0; below -87, where it is of no use to a sum, e^-87. At most 3 ulp above -20, 5 below.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfNegative(D d, V x) {
  const V shift = hn::Set(d, kToEighths);
  const V bounded = hn::Max(hn::Set(d, -87.0f), x);
  const V shifted = hn::MulAdd(bounded, hn::Set(d, 1.44269504f), shift);
  const V r = hn::NegMulAdd(hn::Sub(shifted, shift), hn::Set(d, 0.693147181f), bounded);
  const V power = PowerOfEighths(d, shifted);
  // (e^r - 1 - r) / r^2, minimax for |r| <= log(2) / 16; the error of e^r is below 3e-8.
  const V q = Polynomial(d, r, 1.66682303e-1f, 5.00064731e-1f);
  return hn::MulAdd(power, hn::MulAdd(hn::Mul(r, r), q, r), power);
}

/// e^x - 1 for x <= 88. At most 3 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Expm1(D d, V x) {
  const ExpParts<D> parts = ReduceExp(d, hn::Max(hn::Set(d, -80.0f), x));
  const V power = PowerOfTwo(d, parts.n);
  return hn::MulAdd(power, parts.expm1_r, hn::Sub(power, hn::Set(d, 1.0f)));
}

/// tanh x. At most 4 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  // Beyond 10 the result is 1 to the last bit. (e^2|x| - 1) / (e^2|x| + 1)
  const V magnitude = hn::Min(hn::Set(d, 10.0f), hn::Abs(x));
  const V e = Expm1(d, hn::Add(magnitude, magnitude));
  const V result = hn::CopySign(hn::Div(e, hn::Add(e, hn::Set(d, 2.0f))), x);
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

/// 2 atanh(u) for |u| <= 1/3: the logarithm of (1 + u) / (1 - u).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V TwiceAtanhOfSmall(D d, V u) {
  const V square = hn::Mul(u, u);
  const V p =
      Polynomial(d, square, 0.2079414278f, 0.1746307488f, 0.2226485143f, 0.2857030087f, 0.4000001083f, 0.6666666665f);
  return hn::MulAdd(hn::Mul(u, square), p, hn::Add(u, u));
}

/// log(1 + e) for e within [0, 1]. At most 3 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log1pOfUnit(D d, V e) {
  return TwiceAtanhOfSmall(d, hn::Div(e, hn::Add(e, hn::Set(d, 2.0f))));
}

/// log x for normal x > 0, plus `extra` log 2. At most 2 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LogOfNormal(D d, V x, V extra) {
  const hn::RebindToSigned<D> di;
  // x = m 2^n with m within [sqrt(1/2), sqrt(2)).
  const auto bits = hn::BitCast(di, x);
  const auto shifted = hn::Sub(bits, hn::Set(di, 0x3F3504F3));
  const auto exponent = hn::ShiftRight<23>(shifted);
  const V m = hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(exponent)));
  const V n = hn::Add(hn::ConvertTo(d, exponent), extra);
  // log m = f - f^2 / 2 + s (f^2 / 2 + R) with f = m - 1, s = f / (2 + f): f is exact, so no digit is lost near 1.
  const V f = hn::Sub(m, hn::Set(d, 1.0f));
  const V s = hn::Div(f, hn::Add(f, hn::Set(d, 2.0f)));
  const V square = hn::Mul(s, s);
  const V r = hn::Mul(square, Polynomial(d, square, 0.2959031736f, 0.3998855099f, 0.6666668560f));
  const V half = hn::Mul(hn::Mul(f, f), hn::Set(d, 0.5f));
  const V low = hn::MulAdd(n, hn::Set(d, -2.12194440e-4f), hn::Mul(s, hn::Add(half, r)));
  return hn::MulAdd(n, hn::Set(d, 0.693359375f), hn::Sub(f, hn::Sub(half, low)));
}

/// log x. -infinity at 0, NaN below. At most 2 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto denormal = hn::Lt(x, hn::Set(d, 1.17549435e-38f));
  const V scaled = hn::IfThenElse(denormal, hn::Mul(x, hn::Set(d, 8388608.0f)), x);
  const V result = LogOfNormal(d, scaled, hn::IfThenElseZero(denormal, hn::Set(d, -23.0f)));
  const V infinity = hn::BitCast(d, hn::Set(di, 0x7F800000));
  const V not_a_number = hn::BitCast(d, hn::Set(di, 0x7FC00000));
  const V outside =
      hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(infinity), hn::IfThenElse(hn::Eq(x, infinity), x, not_a_number));
  const auto regular = hn::And(hn::Gt(x, hn::Zero(d)), hn::Lt(x, infinity));
  return hn::IfThenElse(regular, result, outside);
}

/// atanh x for |x| < 1. At most 4 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Atanh(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V large = Log(d, hn::Div(hn::Add(one, x), hn::Sub(one, x)));
  const auto small = hn::Le(hn::Abs(x), hn::Set(d, 0.333f));
  return hn::Mul(hn::Set(d, 0.5f), hn::IfThenElse(small, TwiceAtanhOfSmall(d, x), large));
}

/// log(1 + e^x). At most 4 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Softplus(D d, V x) {
  return hn::Add(hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x), Log1pOfUnit(d, Exp(d, hn::Neg(hn::Abs(x)))));
}

/// 1 / (1 + e^-x). At most 4 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V e = Exp(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

/// Error function, to 1e-7 absolute: erf y = 1 - e^(-y q(y)) for y >= 0, q minimax on [0, 4].
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Erf(D d, V x) {
  const V y = hn::Min(hn::Set(d, 4.0f), hn::Abs(x));
  const V q =
      Polynomial(d, y, -1.013977274e-7f, 2.55876506e-6f, -2.874358177e-5f, 1.880921764e-4f, -7.718797463e-4f,
                 1.823030723e-3f, -2.581503948e-4f, -1.912138603e-2f, 1.027733609e-1f, 6.366195674e-1f, 1.128379171f);
  const V result = hn::CopySign(hn::Sub(hn::Set(d, 1.0f), Exp(d, hn::Neg(hn::Mul(y, q)))), x);
  return hn::IfThenElse(hn::Eq(x, x), result, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#endif  // DENSITYD_ENGINE_CPU_MATH_INL_H_
