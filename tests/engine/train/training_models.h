// Flows of every kind whose training is compiled.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/engine/cpu/arena.h"
#include "server/engine/train/train_plan.h"
#include "tests/engine/cpu/models.h"

namespace densityd::engine::train {

using cpu::Model;

/// cpu::AllModels() without the layers that are sequential in the density direction, where others are left. Specs have
/// their defaults.
std::vector<Model> TrainingModels();

/// The one of that name.
Model TrainingModel(const std::string& name);

/// The plan of a model that has one, and its weights.
struct TestPlan {
  TestPlan(const Model& model, size_t batch_rows, size_t threads);

  std::unique_ptr<TrainPlan> plan;
  cpu::Arena parameters;
};

/// Standard normal rows (count, `plan.row_numbers()`).
std::vector<float> EncodedRows(const TrainPlan& plan, size_t count);

/// 0 … count - 1, the last first.
std::vector<int64_t> Backwards(size_t count);

}  // namespace densityd::engine::train
