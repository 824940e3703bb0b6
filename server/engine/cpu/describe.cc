#include "server/engine/cpu/describe.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

namespace densityd::engine::cpu {
namespace {

const char* NameOf(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kIdentity:
      return "identity";
    case ActivationKind::kRelu:
      return "relu";
    case ActivationKind::kTanh:
      return "tanh";
    case ActivationKind::kGelu:
      return "gelu";
    case ActivationKind::kSilu:
      return "silu";
    case ActivationKind::kLeakyRelu:
      return "leaky_relu";
    case ActivationKind::kElu:
      return "elu";
  }
  return "activation";
}

const char* NameOf(MapKind kind) {
  switch (kind) {
    case MapKind::kLinear:
      return "linear";
    case MapKind::kShiftForward:
      return "shift_forward";
    case MapKind::kShiftInverse:
      return "shift_inverse";
    case MapKind::kAffineForward:
      return "affine_forward";
    case MapKind::kAffineInverse:
      return "affine_inverse";
    case MapKind::kSplineForward:
      return "spline_forward";
    case MapKind::kSplineInverse:
      return "spline_inverse";
    case MapKind::kExp:
      return "exp";
    case MapKind::kLog:
      return "log";
    case MapKind::kSigmoid:
      return "sigmoid";
    case MapKind::kLogit:
      return "logit";
    case MapKind::kSoftplus:
      return "softplus";
    case MapKind::kSoftplusInverse:
      return "softplus_inverse";
    case MapKind::kTanh:
      return "tanh";
    case MapKind::kAtanh:
      return "atanh";
    case MapKind::kLeakyRelu:
      return "leaky_relu";
    case MapKind::kNormalLogDensity:
      return "normal_log_density";
  }
  return "map";
}

uint64_t DenseWork(const Network& network) {
  uint64_t work = 0;
  for (const Linear& linear : network.layers) work += uint64_t{linear.units()} * linear.inputs();
  return work;
}

std::string Columns(size_t count) { return absl::StrCat(count, count == 1 ? " column" : " columns"); }

/// "6 -> 256 -> 12, relu".
std::string ShapeOf(const Network& network) {
  std::string shape = absl::StrCat(network.layers.front().inputs());
  for (const Linear& linear : network.layers) absl::StrAppend(&shape, " -> ", linear.units());
  absl::StrAppend(&shape, ", ", NameOf(network.activation));
  if (network.residual) absl::StrAppend(&shape, ", residual");
  return shape;
}

ProgramLayer Name(const ConditionedLayer& layer) {
  ProgramLayer name;
  name.kind = layer.autoregressive ? "autoregressive" : layer.inputs.empty() ? "elementwise" : "coupling";
  name.shape = absl::StrCat(Columns(layer.outputs.size()), ", ", ShapeOf(layer.network));
  name.dense_multiply_adds = DenseWork(layer.network);
  return name;
}

ProgramLayer Name(const DiagonalLayer& layer) { return {0, "diagonal", Columns(layer.factor.size()), 0}; }

ProgramLayer Name(const MatrixLayer& layer) {
  const size_t size = layer.shift.size();
  return {0, "matrix", absl::StrCat(size, " x ", size), uint64_t{size} * size};
}

ProgramLayer Name(const PermutationLayer& layer) { return {0, "permutation", Columns(layer.columns.size()), 0}; }

ProgramLayer Name(const BijectionLayer& layer) { return {0, "bijection", Columns(layer.columns.size()), 0}; }

/// Describes the steps of one program.
class StepDescriber {
 public:
  explicit StepDescriber(const Program& program) : program_(program) {}

  StepDescription operator()(const DenseStep& step) const {
    StepDescription to;
    to.op = "dense";
    uint64_t weights = 0;
    for (uint32_t i = step.first_panel; i < step.first_panel + step.panel_count; ++i) {
      const Panel& panel = program_.panels[i];
      to.outputs += panel.units;
      to.inputs = std::max<uint64_t>(to.inputs, panel.depth);
      to.multiply_adds += uint64_t{panel.units} * panel.depth;
    }
    weights += to.multiply_adds;
    for (uint32_t i = step.first_strip; i < step.first_strip + step.strip_count; ++i) {
      weights += uint64_t{program_.strips[i].width} * program_.strips[i].depth;
    }
    if (!step.accumulate) weights += to.outputs;  // biases
    to.dense_multiply_adds = to.inputs * to.outputs;
    to.weight_bytes = weights * sizeof(float);
    return to;
  }
  StepDescription operator()(const ActivateStep& step) const { return Elementwise("activate", step.count); }
  StepDescription operator()(const AddStep& step) const { return Elementwise("add", step.count); }
  StepDescription operator()(const CopyStep& step) const { return Elementwise("copy", step.count); }
  StepDescription operator()(const MapStep& step) const { return Elementwise(NameOf(step.kind), step.count); }

 private:
  static StepDescription Elementwise(const char* op, uint64_t columns) {
    StepDescription to;
    to.op = op;
    to.inputs = to.outputs = columns;
    return to;
  }

  const Program& program_;
};

}  // namespace

ProgramLayer NameLayer(const LoweredLayer& layer) {
  return std::visit([](const auto& one) { return Name(one); }, layer);
}

ProgramLayer NameBase(const LoweredFlow& flow) {
  return {0, "base", absl::StrCat(Columns(flow.features), flow.base_mean.empty() ? ", N(0, I)" : ", diagonal normal"),
          0};
}

void Describe(const Program& program, PlanDescription& to) {
  const StepDescriber describer(program);
  for (size_t i = 0; i < program.layers.size(); ++i) {
    const ProgramLayer& layer = program.layers[i];
    const size_t end = i + 1 < program.layers.size() ? program.layers[i + 1].first_step : program.steps.size();
    if (layer.first_step == end) continue;  // it became names of columns, or is applied where rows are read or written
    LayerDescription description;
    description.kind = layer.kind;
    description.shape = layer.shape;
    description.dense_multiply_adds = layer.dense_multiply_adds;
    for (size_t step = layer.first_step; step < end; ++step) {
      description.steps.push_back(std::visit(describer, program.steps[step]));
      description.multiply_adds += description.steps.back().multiply_adds;
      description.weight_bytes += description.steps.back().weight_bytes;
    }
    to.layers.push_back(std::move(description));
  }
}

}  // namespace densityd::engine::cpu
