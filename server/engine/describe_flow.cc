#include "server/engine/describe_flow.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/flow/chain_order.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"

namespace densityd::engine {
namespace {

using density::v1::Autoregressive;
using density::v1::Layer;

bool IsDensity(Op op) { return op != Op::kForward && op != Op::kSample; }

/// Passes through the flow that a density of a row takes. A gradient takes each product of weights and rows once more,
/// for its rows alone: the weights stay as they are.
uint64_t EvaluationsOf(Op op) {
  if (op == Op::kLogProbWithError) return flow::kProbeDraws;
  return op == Op::kScore ? 2 : 1;
}

uint64_t PassesOf(const Layer& layer, Op op, uint64_t features) {
  if (!layer.has_autoregressive()) return 1;
  const bool parallel_density = layer.autoregressive().parallel() != Autoregressive::SAMPLING;
  return parallel_density == IsDensity(op) ? 1 : features;
}

/// Products of a row and each matrix of a layer: one, or with convolutions one for each pixel.
uint64_t ProductsOf(const Layer& layer, const flow::RowShape& shape) {
  const bool is_convolution = layer.has_invertible_convolution() || layer.coupling().conditioner().has_conv_resnet() ||
                              layer.split().conditioner().has_conv_resnet();
  return is_convolution ? static_cast<uint64_t>(shape.pixels()) : 1;
}

LayerDescription DescribeLayer(const Layer& layer, absl::Span<const flow::TensorInfo> tensors, Op op,
                               const flow::RowShape& shape, size_t number_bytes) {
  const auto features = static_cast<uint64_t>(shape.columns);
  LayerDescription description;
  description.kind = flow::LayerKind(layer);
  description.passes = PassesOf(layer, op, features);
  for (const flow::TensorInfo& tensor : tensors) {
    uint64_t numbers = 1;
    for (int64_t size : tensor.shape) numbers *= static_cast<uint64_t>(size);
    description.weight_bytes += numbers * number_bytes;
    // An elementwise layer's own parameters are no matrix that rows are multiplied with.
    if (tensor.shape.size() < 2 || absl::EndsWith(tensor.name, ".theta")) continue;
    description.dense_multiply_adds += numbers * ProductsOf(layer, shape);
    if (description.shape.empty()) description.shape = absl::StrCat(tensor.shape[1]);
    absl::StrAppend(&description.shape, " -> ", tensor.shape[0]);
  }
  // Its matrix is stored as a triangle.
  if (layer.has_full_affine()) description.dense_multiply_adds = features * (features + 1) / 2;
  description.multiply_adds = description.dense_multiply_adds * description.passes * EvaluationsOf(op);
  return description;
}

}  // namespace

PlanDescription DescribeFlow(const density::v1::FlowSpec& given, Op op, size_t number_bytes) {
  const density::v1::FlowSpec spec = flow::WithDefaults(given);
  const std::vector<flow::TensorInfo> tensors = flow::FlowTensors(spec);
  const std::vector<flow::RowShape> shapes = flow::LayerShapes(spec);
  PlanDescription description;
  for (int i = 0; i < spec.layers_size(); ++i) {
    std::vector<flow::TensorInfo> own;
    const std::string prefix = absl::StrCat("layers.", i, ".");
    for (const flow::TensorInfo& tensor : tensors) {
      if (absl::StartsWith(tensor.name, prefix)) own.push_back(tensor);
    }
    description.layers.push_back(DescribeLayer(spec.layers(i), own, op, shapes[i], number_bytes));
  }
  if (!IsDensity(op)) std::reverse(description.layers.begin(), description.layers.end());
  return description;
}

}  // namespace densityd::engine
