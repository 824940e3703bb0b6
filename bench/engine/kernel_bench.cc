// Univariate maps and noise on their own, in the tile layout. Counter: `numbers` per second; its inverse is the time of
// one number.
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/cpu/builder.h"
#include "server/engine/cpu/kernels.h"
#include "server/engine/philox.h"

namespace densityd::engine::cpu {
namespace {

constexpr size_t kColumns = 6;

void CountNumbers(benchmark::State& state) {
  state.counters["numbers"] =
      benchmark::Counter(static_cast<double>(state.iterations() * kColumns * kTileRows), benchmark::Counter::kIsRate);
}

/// kColumns columns under a map with normal parameters, which stand in the first-level cache where they fit.
void RunMap(benchmark::State& state, MapKind kind, float constant, size_t parameters) {
  PackedWeights none;
  ProgramBuilder builder(Layout::kTile, none);
  const Column x = builder.Allocate(kColumns);
  const Column y = builder.Allocate(kColumns);
  const Column theta = builder.Allocate(kColumns * parameters);
  std::vector<MapEntry> entries(kColumns);
  for (size_t i = 0; i < kColumns; ++i) {
    entries[i].in = x + static_cast<Column>(i);
    entries[i].out = y + static_cast<Column>(i);
    entries[i].parameters = theta + static_cast<Column>(i * parameters);
  }
  MapStep step;
  step.kind = kind;
  step.constant = constant;
  step.parameters = static_cast<uint32_t>(parameters);
  builder.Map(step, entries);
  const Program program = builder.Take();
  Arena table((program.columns + 1) * kTileRows);
  FillNoise({1, 0, kTileRows, program.columns}, table.data() + kTileRows, 1, kTileRows);
  for (auto _ : state) RunTile(program, {}, {table.data() + kTileRows, table.data(), kTileRows});
  CountNumbers(state);
}

void RunNoise(benchmark::State& state) {
  std::vector<float> numbers(kColumns * kTileRows);
  uint64_t row = 0;
  for (auto _ : state) FillNoise({1, row += kTileRows, kTileRows, kColumns}, numbers.data(), 1, kTileRows);
  CountNumbers(state);
}

const bool registered = [] {
  const auto map = [](const std::string& name, MapKind kind, float constant, size_t parameters) {
    benchmark::RegisterBenchmark(("kernel/" + name).c_str(), RunMap, kind, constant, parameters);
  };
  map("affine_forward", MapKind::kAffineForward, 3, 2);
  map("affine_inverse", MapKind::kAffineInverse, 3, 2);
  for (size_t bins : {4, 8, 16, 64}) {
    map("spline_forward/" + std::to_string(bins), MapKind::kSplineForward, 3, 3 * bins - 1);
    map("spline_inverse/" + std::to_string(bins), MapKind::kSplineInverse, 3, 3 * bins - 1);
  }
  benchmark::RegisterBenchmark("kernel/noise", RunNoise);
  return true;
}();

}  // namespace
}  // namespace densityd::engine::cpu
