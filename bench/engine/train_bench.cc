// Compiled training steps, names training/<preset>/<D>/<hidden>/<layers>/<rows of a batch>/threads:<n>: gradient,
// clipping and Adam. Counter `useful`: the multiply-adds of the three products that the masks leave, in FLOP/s; those
// of the first layer's gradient by the data, which nobody needs, are counted, univariate maps are not. And splines of a
// step on their own, names training_kernel/spline_forward/<bins>; counter: `numbers` per second.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <string>
#include <vector>

#include "bench/engine/bench_model.h"
#include "benchmark/benchmark.h"
#include "server/engine/cpu/arena.h"
#include "server/engine/cpu/lower_univariate.h"
#include "server/engine/philox.h"
#include "server/engine/train/kernels.h"
#include "server/engine/train/train_plan.h"
#include "server/flow/spec.h"
#include "tests/engine/cpu/models.h"

namespace densityd::bench {
namespace {

using engine::cpu::Arena;
using engine::train::AdamStep;
using engine::train::Batch;
using engine::train::LossAndNorm;
using engine::train::TrainPlan;

constexpr double kClipNorm = 5;
constexpr uint32_t kColumns = 6;

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

// One tile of kColumns columns under a spline with parameters of their own, which stand in the second-level cache.
class SplineStep {
 public:
  explicit SplineStep(uint32_t bins) {
    using engine::train::kTileRows;
    using engine::train::MapKind;
    using engine::train::MapStep;
    density::v1::RationalQuadraticSpline spline;
    spline.set_bins(bins);
    density::v1::FlowSpec spec;
    spec.set_features(kColumns);
    *spec.add_layers()->mutable_elementwise()->mutable_univariate()->mutable_rational_quadratic_spline() = spline;
    const auto map = engine::cpu::LowerUnivariate(flow::WithDefaults(spec).layers(0).elementwise().univariate());
    MapStep step;
    step.kind = MapKind::kSpline;
    step.parameters = map.parameters;
    step.spline = map.spline;
    for (uint32_t i = 0; i < kColumns; ++i) {
      MapStep::Entry entry;
      entry.in = {i, i, 1};
      entry.out = {kColumns + i, kColumns + i, 1};
      entry.theta = entry.theta_gradient = 2 * kColumns + i * map.parameters;
      program_.base.push_back(entry.out);
      step.entries.push_back(entry);
    }
    program_.steps.emplace_back(std::move(step));
    const size_t columns = kColumns * (2 + map.parameters);
    memory_ = Arena((2 * columns + 2) * kTileRows);
    engine::FillStandardNormal(1, 0, 1, columns * kTileRows, memory_.data());
    tile_.values = memory_.data();
    tile_.gradients = tile_.values + columns * kTileRows;
    tile_.log = tile_.gradients + columns * kTileRows;
    tile_.weights = tile_.log + kTileRows;
    std::fill_n(tile_.weights, kTileRows, 1.0f / kTileRows);
    shard_.tiles = {&tile_, 1};
  }

  void Forward() { engine::train::ShardForward(program_, nullptr, shard_); }
  void Both() { benchmark::DoNotOptimize(engine::train::ShardGradient(program_, nullptr, shard_, nullptr)); }
  static constexpr size_t kNumbers = kColumns * engine::train::kTileRows;

 private:
  engine::train::Program program_;
  Arena memory_;
  engine::train::Tile tile_;
  engine::train::Shard shard_;
};

constexpr int kCallsAtOnce = 64;

// Seconds that kCallsAtOnce calls take.
template <class Call>
double SecondsOf(const Call& call) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCallsAtOnce; ++i) call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void RunSpline(benchmark::State& state, uint32_t bins, bool backward) {
  SplineStep step(bins);
  for (auto _ : state) {
    const double forward = SecondsOf([&] { step.Forward(); });
    state.SetIterationTime(backward ? SecondsOf([&] { step.Both(); }) - forward : forward);
  }
  state.counters["numbers"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(kCallsAtOnce * SplineStep::kNumbers),
      benchmark::Counter::kIsRate);
}

}  // namespace

void RegisterTraining() {
  for (const uint32_t bins : {8, 16}) {
    const std::string name = std::to_string(bins);
    benchmark::RegisterBenchmark(("training_kernel/spline_forward/" + name).c_str(), RunSpline, bins, false)
        ->UseManualTime();
    benchmark::RegisterBenchmark(("training_kernel/spline_backward/" + name).c_str(), RunSpline, bins, true)
        ->UseManualTime();
  }
  for (const char* preset : {"realnvp", "maf", "nsf_coupling", "nsf_ar"}) {
    for (const Shape& shape :
         {Shape{preset, 6, 256, 8}, {preset, 43, 256, 8}, {preset, 63, 256, 8}, {preset, 63, 512, 8}}) {
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
