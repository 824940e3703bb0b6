// What the processor can do: a loop of fused multiply-adds that never leaves the registers, and oneDNN's matrix
// product.
#include "benchmark/benchmark.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/engine/peak_bench.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway asks.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace densityd::engine::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// `rounds` rounds of 12 independent multiply-adds; returns the floating-point operations done.
HWY_ATTR double MultiplyAdds(size_t rounds, float* sink) {
  const hn::ScalableTag<float> d;
  using Vector = hn::Vec<decltype(d)>;
  const Vector factor = hn::Set(d, 0.999f);
  const Vector term = hn::Set(d, 0.001f);
  Vector sums[12];
  for (Vector& sum : sums) sum = hn::Set(d, *sink);
  for (size_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (Vector& sum : sums) sum = hn::MulAdd(sum, factor, term);
  }
  for (Vector& sum : sums) *sink += hn::GetLane(sum);
  return 2.0 * 12 * static_cast<double>(rounds * hn::Lanes(d));
}

}  // namespace HWY_NAMESPACE
}  // namespace densityd::engine::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <vector>

#ifdef DENSITYD_BENCH_DNNL
#include "dnnl.hpp"
#endif

namespace densityd::engine::cpu {
namespace {

HWY_EXPORT(MultiplyAdds);

void PeakMultiplyAdd(benchmark::State& state) {
  float sink = 1;
  double flops = 0;
  for (auto _ : state) {
    flops += HWY_DYNAMIC_DISPATCH(MultiplyAdds)(100000, &sink);
    benchmark::DoNotOptimize(sink);
  }
  state.counters["useful"] = benchmark::Counter(flops, benchmark::Counter::kIsRate);
}
BENCHMARK(PeakMultiplyAdd)->Name("peak/multiply-add")->Unit(benchmark::kMicrosecond);

#ifdef DENSITYD_BENCH_DNNL
/// A product of two 512 x 512 matrices with the weights in the layout that oneDNN likes best.
void OneDnn(benchmark::State& state) {
  constexpr dnnl::memory::dim kSize = 512;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl::memory::desc plain({kSize, kSize}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::ab);
  const dnnl::memory::desc any({kSize, kSize}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::any);
  const dnnl::matmul::primitive_desc primitive(dnnl::matmul::desc(plain, any, plain), engine);
  dnnl::matmul product(primitive);
  std::vector<float> numbers(kSize * kSize, 0.5f);
  dnnl::memory a(plain, engine), weights(primitive.weights_desc(), engine), c(plain, engine);
  dnnl::memory given(plain, engine, numbers.data());
  dnnl::reorder(given, a).execute(stream, given, a);
  dnnl::reorder(given, weights).execute(stream, given, weights);
  stream.wait();
  for (auto _ : state) {
    product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, c}});
    stream.wait();
  }
  state.counters["useful"] = benchmark::Counter(2.0 * kSize * kSize * kSize * static_cast<double>(state.iterations()),
                                                benchmark::Counter::kIsRate);
}
BENCHMARK(OneDnn)->Name("peak/onednn-512")->Unit(benchmark::kMicrosecond);
#endif

}  // namespace
}  // namespace densityd::engine::cpu
#endif  // HWY_ONCE
