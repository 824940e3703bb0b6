#include "server/engine/flow_runner.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "c10/core/InferenceMode.h"
#include "server/engine/stored_shapes.h"
#include "server/engine/weights.h"
#include "server/flow/column_map.h"
#include "server/flow/spec.h"
#include "torch/autograd.h"

namespace densityd::engine {

using flow::Flow;
using torch::Tensor;

namespace {

bool HasDiscreteColumns(const density::v1::FlowSpec& spec) {
  const auto& columns = spec.layers(0).preprocessing().columns();
  return std::any_of(columns.begin(), columns.end(),
                     [](const auto& column) { return flow::FormOf(column).is_discrete(); });
}

}  // namespace

torch::ScalarType ScalarTypeOf(NumberType type) {
  return type == NumberType::kFloat32 ? torch::kFloat32 : torch::kFloat64;
}

NumberType DataType(const density::v1::FlowSpec& spec, NumberType precision) {
  return spec.layers(0).has_standardize() || spec.layers(0).has_preprocessing() ? NumberType::kFloat64 : precision;
}

NumberType ContextType(const density::v1::FlowSpec& spec, NumberType precision) {
  return spec.has_context_preprocessing() || spec.has_context_encoding() ? NumberType::kFloat64 : precision;
}

absl::StatusOr<std::shared_ptr<Flow>> LoadFlow(const density::v1::FlowSpec& spec,
                                               absl::Span<const registry::Tensor> tensors,
                                               const CompileOptions& options) {
  if (absl::Status status = CheckShapes(spec, tensors); !status.ok()) return status;
  absl::StatusOr<std::shared_ptr<Flow>> flow = flow::BuildFlow(spec, /*seed=*/0);
  if (!flow.ok()) return flow.status();
  if (absl::Status status = LoadWeights(**flow, tensors); !status.ok()) return status;
  (*flow)->eval();
  // Gradients are those by the rows.
  for (Tensor& parameter : (*flow)->parameters()) parameter.requires_grad_(false);
  (*flow)->to(torch::Device(options.device), ScalarTypeOf(options.precision));
  return flow;
}

size_t FlowBytes(const density::v1::FlowSpec& spec, NumberType precision) {
  size_t numbers = 0;
  for (const flow::TensorInfo& tensor : flow::FlowTensors(spec)) {
    size_t count = 1;
    for (int64_t size : tensor.shape) count *= static_cast<size_t>(size);
    numbers += count;
  }
  // The masks of autoregressive networks are as large as their weights; each layer has constants for its columns.
  const size_t columns = spec.features() + spec.context_features();
  return 2 * numbers * NumberBytes(precision) + columns * 64 * (spec.layers_size() + 2);
}

namespace {

/// The gradient of log p by x, and log p.
flow::Mapped Score(Flow& flow, const Tensor& input, const Tensor& context) {
  // What was made under inference mode takes part in no gradient; a copy does.
  const c10::InferenceMode inference(/*enabled=*/false);
  const at::AutoGradMode grad_mode(true);
  const Tensor x = input.clone().requires_grad_();
  const Tensor log_prob = flow.LogProb(x, context.defined() ? context.clone() : context);
  // Rows do not depend on each other: the gradient of the sum has every row's own.
  const Tensor gradient = torch::autograd::grad({log_prob.sum()}, {x})[0];
  // Where the density is zero it stays so.
  const Tensor is_zero = log_prob.detach() == -std::numeric_limits<double>::infinity();
  return {gradient.masked_fill(is_zero.unsqueeze(1), 0), log_prob.detach()};
}

}  // namespace

flow::Mapped RunFlow(Flow& flow, Op op, const Tensor& input, const Tensor& context, bool wants_log) {
  switch (op) {
    case Op::kLogProb:
      return {Tensor(), flow.LogProb(input, context)};
    case Op::kInverse:
      return flow.Inverse(input, context);
    case Op::kForward:
      return flow.Forward(input, context);
    case Op::kScore:
      return Score(flow, input, context);
    case Op::kLogProbByColumn: {
      const Tensor parts = flow.LogProbByColumn(input, context);
      return {parts, parts.sum(1)};
    }
    case Op::kLogProbWithError:
      return flow.LogProbWithError(input, context);
    case Op::kSample:
      break;
  }
  const Tensor z = flow.BaseFromNoise(input, context);
  const flow::Mapped x = flow.Forward(z, context);
  if (!wants_log) return {x.value, Tensor()};
  // What is rounded has the density of its cell, not that of the number before.
  if (HasDiscreteColumns(flow.spec())) return {x.value, flow.LogProb(x.value, context)};
  return {x.value, flow.BaseLogProb(z, context) - x.log_abs_det};
}

}  // namespace densityd::engine
