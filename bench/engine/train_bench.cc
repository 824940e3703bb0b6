// Compiled training steps, names training/<preset>/<D>/<hidden>/<layers>/<rows of a batch>/threads:<n>: gradient,
// clipping and Adam. Counter `useful`: the multiply-adds of the three products that the masks leave, in FLOP/s; those
// of the first layer's gradient by the data, which nobody needs, are counted, univariate maps are not.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "bench/engine/bench_model.h"
#include "benchmark/benchmark.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/train/train_plan.h"
#include "tests/engine/cpu/models.h"

namespace densityd::bench {
namespace {

using engine::cpu::Arena;
using engine::train::AdamStep;
using engine::train::Batch;
using engine::train::LossAndNorm;
using engine::train::TrainPlan;

constexpr double kClipNorm = 5;

void RunTraining(benchmark::State& state, Shape shape, size_t rows, size_t threads) {
  const engine::cpu::Model model = engine::cpu::RandomModel(
      shape.preset, engine::cpu::PresetSpec(shape.preset, shape.features, 0, shape.layers, shape.hidden), 1);
  auto plan = TrainPlan::Compile(model.spec, rows, threads);
  if (!plan.ok()) {
    state.SkipWithError(std::string(plan.status().message()).c_str());
    return;
  }
  const size_t size = (*plan)->layout().size();
  Arena parameters(size);
  Arena first_moment(size);
  Arena second_moment(size);
  if (!(*plan)->layout().Load(model.tensors, parameters.data()).ok()) {
    state.SkipWithError("the weights do not fit");
    return;
  }
  const std::vector<float> data = engine::cpu::NormalRows(rows, (*plan)->row_numbers(), 2);
  std::vector<int64_t> indices(rows);
  std::iota(indices.begin(), indices.end(), 0);
  Batch batch;
  batch.rows = data.data();
  batch.row_step = (*plan)->row_numbers();
  batch.indices = indices;
  for (auto _ : state) {
    const LossAndNorm result = (*plan)->ComputeGradient(parameters.data(), batch);
    AdamStep step;
    step.gradient_factor = static_cast<float>(std::min(1.0, kClipNorm / result.norm));
    step.rate = 1e-4f;
    (*plan)->TakeStep(step,
                      {0, nullptr, parameters.data(), first_moment.data(), second_moment.data(), /*average=*/nullptr});
  }
  const double runs = static_cast<double>(state.iterations()) * static_cast<double>(rows);
  state.counters["useful"] =
      benchmark::Counter(runs * 6 * static_cast<double>((*plan)->multiply_adds()), benchmark::Counter::kIsRate);
  state.counters["rows"] = benchmark::Counter(runs, benchmark::Counter::kIsRate);
}

}  // namespace

void RegisterTraining() {
  for (const char* preset : {"realnvp", "maf", "nsf_coupling", "nsf_ar"}) {
    for (const Shape& shape : {Shape{preset, 6, 256, 8}, {preset, 43, 256, 8}, {preset, 63, 512, 8}}) {
      for (size_t rows : {128, 512}) {
        for (size_t threads : {1, 2}) {
          const std::string name =
              "training/" + ShapeName(shape) + "/" + std::to_string(rows) + "/threads:" + std::to_string(threads);
          benchmark::RegisterBenchmark(name.c_str(), RunTraining, shape, rows, threads)
              ->Unit(benchmark::kMillisecond)
              ->UseRealTime();
        }
      }
    }
  }
}

}  // namespace densityd::bench
