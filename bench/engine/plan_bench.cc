// Compiled plans: time per call, floating-point rate and share of the processor's peak.
//
// Names are plan/<preset>/<D>/<hidden>/<layers>/<op>/<rows>. Counters: `useful` counts the multiply-adds that the masks
// leave, `dense` those of the same network without masks, both in FLOP/s.
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "benchmark/benchmark.h"
#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/cpu/kernels.h"
#include "server/engine/cpu/lower.h"
#include "server/engine/plan.h"
#include "tests/engine/cpu/models.h"

namespace densityd::engine::cpu {
namespace {

/// A model as the peers' benchmark builds it.
struct Shape {
  const char* preset;
  uint32_t features;
  uint32_t hidden;
  uint32_t layers;
};

constexpr Shape kShapes[] = {{"realnvp", 6, 256, 8}, {"maf", 6, 256, 8},        {"realnvp", 21, 256, 8},
                             {"maf", 21, 256, 8},    {"realnvp", 43, 256, 8},   {"maf", 43, 256, 8},
                             {"iaf", 43, 256, 8},    {"realnvp", 63, 512, 8},   {"maf", 63, 512, 8},
                             {"iaf", 6, 256, 8},     {"realnvp", 784, 1024, 2}, {"maf", 784, 1024, 2}};

/// Floating-point operations of one row.
struct Flops {
  double useful = 0;
  double dense = 0;
};

Flops FlopsOf(const Model& model) {
  Flops flops;
  const auto lowered = LowerFlow(model.spec, model.tensors);
  for (const LoweredLayer& layer : lowered->layers) {
    const auto* conditioned = std::get_if<ConditionedLayer>(&layer);
    if (conditioned == nullptr) continue;
    for (const Linear& linear : conditioned->network.layers) {
      flops.dense += 2.0 * static_cast<double>(linear.units() * linear.inputs());
      for (size_t unit = 0; unit < linear.units(); ++unit)
        flops.useful += 2.0 * static_cast<double>(linear.Reach(unit));
    }
  }
  return flops;
}

/// A plan with rows to run it on.
struct Bench {
  std::unique_ptr<Plan> plan;
  Flops flops;
  std::vector<float> input;
  std::vector<float> output;
  std::vector<float> log;
  Workspace workspace;

  Bench(const Shape& shape, size_t rows) {
    const Model model =
        RandomModel(shape.preset, PresetSpec(shape.preset, shape.features, 0, shape.layers, shape.hidden), 1);
    plan = *CompileCpuPlan(model.spec, model.tensors);
    flops = FlopsOf(model);
    input = DataRows(model, rows, 2);
    output.resize(rows * shape.features);
    log.resize(rows);
  }

  void Run(Op op, size_t rows) {
    const size_t features = plan->info().features;
    RowSpan span;
    span.rows = rows;
    span.seed = 1;
    span.input = {input.data(), NumberType::kFloat32, rows, features};
    if (op != Op::kLogProb) span.output = {output.data(), NumberType::kFloat32, rows, features};
    span.log = {log.data(), NumberType::kFloat32, rows, 1};
    for (size_t begin = 0; begin < rows; begin += kTileRows) {
      const RowSpan tile = Slice(span, begin, std::min(kTileRows, rows - begin));
      if (!plan->Run(op, {&tile, 1}, workspace).ok()) std::abort();
    }
  }
};

void RunPlan(benchmark::State& state, Shape shape, Op op, size_t rows) {
  Bench bench(shape, rows);
  for (auto _ : state) bench.Run(op, rows);
  const double runs = static_cast<double>(state.iterations()) * static_cast<double>(rows);
  state.counters["useful"] = benchmark::Counter(runs * bench.flops.useful, benchmark::Counter::kIsRate);
  state.counters["dense"] = benchmark::Counter(runs * bench.flops.dense, benchmark::Counter::kIsRate);
  state.counters["rows"] = benchmark::Counter(runs, benchmark::Counter::kIsRate);
}

void RegisterPlans() {
  for (const Shape& shape : kShapes) {
    for (Op op : {Op::kLogProb, Op::kSample}) {
      for (size_t rows : {1, 4, 64, 4096}) {
        const std::string name = std::string("plan/") + shape.preset + "/" + std::to_string(shape.features) + "/" +
                                 std::to_string(shape.hidden) + "/" + std::to_string(shape.layers) + "/" + OpName(op) +
                                 "/" + std::to_string(rows);
        benchmark::RegisterBenchmark(name.c_str(), RunPlan, shape, op, rows)->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace
}  // namespace densityd::engine::cpu

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("simd_target", densityd::engine::cpu::TargetName());
  densityd::engine::cpu::RegisterPlans();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
