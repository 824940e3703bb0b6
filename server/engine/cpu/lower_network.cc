#include "server/engine/cpu/lower_network.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/flow/made_degrees.h"

namespace densityd::engine::cpu {
namespace {

using density::v1::Conditioner;

/// Names of the linear layers, first to last.
std::vector<std::string> LinearNames(const Conditioner& spec, const std::string& name) {
  std::vector<std::string> names;
  if (!spec.has_residual_mlp()) {
    for (int k = 0; k <= spec.mlp().hidden_size(); ++k) names.push_back(absl::StrCat(name, ".", k));
    return names;
  }
  names.push_back(name + ".input");
  for (uint32_t block = 0; block < spec.residual_mlp().blocks(); ++block) {
    names.push_back(absl::StrCat(name, ".blocks.", block, ".0"));
    names.push_back(absl::StrCat(name, ".blocks.", block, ".1"));
  }
  names.push_back(name + ".output");
  return names;
}

Network ReadNetwork(const Conditioner& spec, const std::string& name, const TensorReader& tensors) {
  Network network;
  network.residual = spec.has_residual_mlp();
  network.activation = LowerActivation(network.residual ? spec.residual_mlp().activation() : spec.mlp().activation());
  for (const std::string& linear : LinearNames(spec, name)) {
    network.layers.push_back({tensors.Matrix(linear + ".weight"), tensors.Vector(linear + ".bias"), {}, {}});
  }
  return network;
}

/// Column j of the result is column order[j] of `matrix`.
Matrix64 SelectColumns(const Matrix64& matrix, const std::vector<int64_t>& order) {
  Matrix64 result(matrix.rows, matrix.cols);
  for (size_t i = 0; i < matrix.rows; ++i) {
    for (size_t j = 0; j < matrix.cols; ++j) result(i, j) = matrix(i, order[j]);
  }
  return result;
}

/// Row i of the result is row order[i] of `linear`.
void SelectRows(Linear& linear, const std::vector<int64_t>& order) {
  Linear selected = linear;
  for (size_t i = 0; i < linear.units(); ++i) {
    selected.bias[i] = linear.bias[order[i]];
    for (size_t j = 0; j < linear.inputs(); ++j) selected.weight(i, j) = linear.weight(order[i], j);
  }
  linear = std::move(selected);
}

/// Stored inputs are the columns, in the data's order, then the context; here the context comes first and columns
/// follow in `order`.
std::vector<int64_t> InputOrder(const flow::Columns& order, int64_t context_features) {
  std::vector<int64_t> inputs(context_features);
  std::iota(inputs.begin(), inputs.end(), static_cast<int64_t>(order.size()));
  inputs.insert(inputs.end(), order.begin(), order.end());
  return inputs;
}

std::vector<int64_t> Select(const std::vector<int64_t>& values, const std::vector<int64_t>& order) {
  std::vector<int64_t> result;
  for (int64_t i : order) result.push_back(values[i]);
  return result;
}

void ApplyMask(Linear& linear) {
  for (size_t unit = 0; unit < linear.units(); ++unit) {
    for (size_t k = linear.Reach(unit); k < linear.inputs(); ++k) linear.weight(unit, k) = 0;
  }
}

}  // namespace

ActivationKind LowerActivation(density::v1::Activation activation) {
  switch (activation) {
    case density::v1::TANH:
      return ActivationKind::kTanh;
    case density::v1::GELU:
      return ActivationKind::kGelu;
    case density::v1::SILU:
      return ActivationKind::kSilu;
    case density::v1::LEAKY_RELU:
      return ActivationKind::kLeakyRelu;
    case density::v1::ELU:
      return ActivationKind::kElu;
    default:
      return ActivationKind::kRelu;
  }
}

Network LowerNetwork(const Conditioner& spec, const std::string& name, const TensorReader& tensors, int64_t columns,
                     int64_t context_features) {
  Network network = ReadNetwork(spec, name, tensors);
  flow::Columns order(columns);
  std::iota(order.begin(), order.end(), 0);
  Linear& first = network.layers.front();
  first.weight = SelectColumns(first.weight, InputOrder(order, context_features));
  return network;
}

Network LowerMaskedNetwork(const Conditioner& spec, const std::string& name, const TensorReader& tensors,
                           const flow::Columns& order, int64_t context_features, int64_t parameters) {
  Network network = ReadNetwork(spec, name, tensors);
  const auto features = static_cast<int64_t>(order.size());
  const std::vector<int64_t> inputs = InputOrder(order, context_features);
  std::vector<int64_t> outputs;
  for (int64_t column : order) {
    for (int64_t p = 0; p < parameters; ++p) outputs.push_back(column * parameters + p);
  }
  Linear& first = network.layers.front();
  first.weight = SelectColumns(first.weight, inputs);
  SelectRows(network.layers.back(), outputs);

  std::vector<int64_t> degrees = Select(flow::InputDegrees(order, context_features), inputs);
  for (size_t i = 0; i < network.layers.size(); ++i) {
    Linear& linear = network.layers[i];
    linear.input_degrees = std::move(degrees);
    const bool last = i + 1 == network.layers.size();
    linear.degrees = last ? Select(flow::OutputDegrees(order, parameters), outputs)
                          : flow::HiddenDegrees(static_cast<int64_t>(linear.units()), features, context_features > 0);
    degrees = linear.degrees;
    ApplyMask(linear);
  }
  return network;
}

Network ConstantNetwork(const Matrix64& theta) {
  Network network;
  network.layers.push_back({Matrix64(theta.values.size(), 0), theta.values, {}, {}});
  return network;
}

}  // namespace densityd::engine::cpu
