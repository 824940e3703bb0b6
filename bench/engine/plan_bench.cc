// Compiled plans: time per call and floating-point rate.
//
// Names are plan/<preset>/<D>/<hidden>/<layers>/<op>/<rows>. Counters: `useful` counts the multiply-adds of the
// conditioners that the masks leave, `dense` those of the same networks without masks, both in FLOP/s; univariate maps
// are not counted. An autoregressive flow's sequential direction counts as one pass: that is what the solve does.
#include <cstdio>
#include <cstdlib>

#include "bench/engine/bench_model.h"
#include "benchmark/benchmark.h"
#include "server/engine/cpu/kernels.h"

namespace densityd::bench {
namespace {

using engine::Op;

void RunPlan(benchmark::State& state, Shape shape, Op op, size_t rows) {
  const BenchModel* model = SharedModel(shape);
  if (model->plan == nullptr) {
    state.SkipWithError(model->why_not.c_str());
    return;
  }
  Rows memory(*model, rows);
  engine::Workspace workspace;
  for (auto _ : state) RunInTiles(*model->plan, memory.Span(op), op, workspace);
  const double runs = static_cast<double>(state.iterations()) * static_cast<double>(rows);
  state.counters["useful"] = benchmark::Counter(runs * model->flops.useful, benchmark::Counter::kIsRate);
  state.counters["dense"] = benchmark::Counter(runs * model->flops.dense, benchmark::Counter::kIsRate);
  state.counters["rows"] = benchmark::Counter(runs, benchmark::Counter::kIsRate);
}

}  // namespace

void RegisterPlans() {
  for (const Shape& shape : kShapes) {
    for (Op op : {Op::kLogProb, Op::kInverse, Op::kForward, Op::kSample}) {
      for (size_t rows : {1, 4, 64, 4096}) {
        const std::string name = "plan/" + ShapeName(shape) + "/" + engine::OpName(op) + "/" + std::to_string(rows);
        benchmark::RegisterBenchmark(name.c_str(), RunPlan, shape, op, rows)->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace densityd::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("simd_target", densityd::engine::cpu::TargetName());
  densityd::bench::RegisterPlans();
  densityd::bench::RegisterScaling();
  densityd::bench::RegisterTraining();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
