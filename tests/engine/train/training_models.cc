#include "tests/engine/train/training_models.h"

#include <algorithm>
#include <numeric>

#include "gtest/gtest.h"
#include "server/flow/spec.h"

namespace densityd::engine::train {
namespace {

using density::v1::FlowSpec;
using density::v1::Layer;

FlowSpec WithoutSequentialLayers(FlowSpec spec) {
  auto& layers = *spec.mutable_layers();
  const auto end = std::remove_if(layers.begin(), layers.end(), [](const Layer& layer) {
    return layer.autoregressive().parallel() == density::v1::Autoregressive::SAMPLING;
  });
  layers.erase(end, layers.end());
  return flow::WithDefaults(spec);
}

// A flow with tails of its own. `degrees` 0: learnt.
FlowSpec StudentSpec(const std::string& preset, double degrees) {
  FlowSpec spec = cpu::PresetSpec(preset, 5, 0, 2, 16);
  auto& student = *spec.mutable_base()->mutable_student_t();
  student.set_degrees(degrees);
  student.set_fixed(degrees > 0);
  return flow::WithDefaults(spec);
}

}  // namespace

std::vector<Model> TrainingModels() {
  std::vector<Model> models;
  for (const Model& model : cpu::AllModels()) {
    const FlowSpec spec = WithoutSequentialLayers(model.spec);
    if (spec.layers().empty() || flow::CountParameters(spec) == 0) continue;
    models.push_back(cpu::RandomModel(model.name, spec, 100 + models.size()));
  }
  const auto add = [&](const std::string& name, const FlowSpec& spec) {
    models.push_back(cpu::RandomModel(name, spec, 100 + models.size()));
  };
  add("student-maf", StudentSpec("maf", 0));
  add("student-nsf-ar", StudentSpec("nsf_ar", 0));
  add("student-realnvp-3", StudentSpec("realnvp", 3));
  add("student-affine", StudentSpec("affine", 0));
  return models;
}

Model TrainingModel(const std::string& name) {
  for (Model& model : TrainingModels()) {
    if (model.name == name) return std::move(model);
  }
  ADD_FAILURE() << "no model " << name;
  return {};
}

TestPlan::TestPlan(const Model& model, size_t batch_rows, size_t threads) {
  auto compiled = TrainPlan::Compile(model.spec, batch_rows, threads);
  EXPECT_TRUE(compiled.ok()) << compiled.status().ToString();
  if (!compiled.ok()) return;
  plan = *std::move(compiled);
  parameters = cpu::Arena(plan->layout().size());
  const absl::Status status = plan->layout().Load(model.tensors, parameters.data());
  EXPECT_TRUE(status.ok()) << status.ToString();
}

std::vector<float> EncodedRows(const TrainPlan& plan, size_t count) {
  return cpu::NormalRows(count, plan.row_numbers(), /*seed=*/21);
}

std::vector<int64_t> Backwards(size_t count) {
  std::vector<int64_t> indices(count);
  std::iota(indices.rbegin(), indices.rend(), 0);
  return indices;
}

}  // namespace densityd::engine::train
