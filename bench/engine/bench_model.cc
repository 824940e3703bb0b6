#include "bench/engine/bench_model.h"

#include <algorithm>
#include <cstdlib>
#include <variant>

#include "server/engine/cpu/cpu_plan.h"
#include "server/engine/cpu/lower.h"
#include "tests/engine/cpu/models.h"

namespace densityd::bench {
namespace {

using engine::Op;
using engine::cpu::ConditionedLayer;
using engine::cpu::Linear;
using engine::cpu::LoweredFlow;
using engine::cpu::LoweredLayer;
using engine::cpu::Model;

std::vector<Shape> AllShapes() {
  std::vector<Shape> shapes;
  for (const char* preset : {"realnvp", "maf", "iaf", "nsf_coupling", "nsf_ar"}) {
    for (uint32_t features : {6, 21, 43}) shapes.push_back({preset, features, 256, 8});
    shapes.push_back({preset, 63, 512, 8});
    shapes.push_back({preset, 784, 1024, 2});
  }
  return shapes;
}

Flops FlopsOf(const LoweredFlow& flow) {
  Flops flops;
  for (const LoweredLayer& layer : flow.layers) {
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

BenchModel MakeModel(const Shape& shape) {
  const Model model = engine::cpu::RandomModel(
      shape.preset, engine::cpu::PresetSpec(shape.preset, shape.features, 0, shape.layers, shape.hidden), 1);
  BenchModel made;
  auto plan = engine::cpu::CompileCpuPlan(model.spec, model.tensors);
  if (!plan.ok()) {
    made.why_not = std::string(plan.status().message());
    return made;
  }
  made.plan = *std::move(plan);
  made.flops = FlopsOf(*engine::cpu::LowerFlow(model.spec, model.tensors));
  made.input = engine::cpu::DataRows(model, kMaxRows, 2);
  return made;
}

}  // namespace

const std::vector<Shape> kShapes = AllShapes();

std::string ShapeName(const Shape& shape) {
  return std::string(shape.preset) + "/" + std::to_string(shape.features) + "/" + std::to_string(shape.hidden) + "/" +
         std::to_string(shape.layers);
}

const BenchModel* SharedModel(const Shape& shape) {
  struct Kept {
    Shape shape;
    BenchModel model;
  };
  static std::unique_ptr<Kept> kept;
  if (kept == nullptr || !(kept->shape == shape)) {
    kept.reset();  // before the next one is made: the largest take hundreds of megabytes
    kept = std::make_unique<Kept>(Kept{shape, MakeModel(shape)});
  }
  return &kept->model;
}

Rows::Rows(const BenchModel& model, size_t rows)
    : model_(model), rows_(rows), output_(rows * model.plan->info().features), log_(rows) {}

engine::RowSpan Rows::Span(Op op) {
  const size_t features = model_.plan->info().features;
  engine::RowSpan span;
  span.rows = rows_;
  span.seed = 1;
  if (op != Op::kSample) span.input = {model_.input.data(), NumberType::kFloat32, rows_, features};
  if (op != Op::kLogProb) span.output = {output_.data(), NumberType::kFloat32, rows_, features};
  span.log = {log_.data(), NumberType::kFloat32, rows_, 1};
  return span;
}

void RunInTiles(const engine::Plan& plan, const engine::RowSpan& span, Op op, engine::Workspace& workspace) {
  const size_t tile = plan.info().tile_rows;
  for (size_t begin = 0; begin < span.rows; begin += tile) {
    const engine::RowSpan part = engine::Slice(span, begin, std::min(tile, span.rows - begin));
    if (!plan.Run(op, {&part, 1}, workspace).ok()) std::abort();
  }
}

}  // namespace densityd::bench
