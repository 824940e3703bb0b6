#include "server/flow/contractive_network.h"

#include <cmath>
#include <string>

#include "server/flow/activation.h"

namespace densityd::flow {
namespace {

using density::v1::Activation;

// The largest slope of an activation.
double Lipschitz(Activation activation) {
  // sigmoid(a) (1 + a (1 - sigmoid(a))) at its maximum, a = 2.39936; Phi(a) + a phi(a) at its own, a = sqrt 2. Both are
  // rounded up.
  if (activation == density::v1::SILU) return 1.09984;
  if (activation == density::v1::GELU) return 1.12905;
  return 1;
}

}  // namespace

ContractiveNetwork::Layer::Layer(int64_t inputs, int64_t outputs, double bound, Initializer& initializer) {
  weight = register_parameter("weight", initializer.Uniform({outputs, inputs}, bound));
  bias = register_parameter("bias", initializer.Uniform({outputs}, bound));
}

ContractiveNetwork::ContractiveNetwork(const density::v1::Mlp& spec, double coefficient, int64_t features,
                                       int64_t context_features, Initializer& initializer)
    : activation_(spec.activation()), coefficient_(coefficient), features_(features) {
  int64_t inputs = features + context_features;
  const auto add = [&](int64_t outputs, double bound) {
    layers_.push_back(
        register_module(std::to_string(layers_.size()), std::make_shared<Layer>(inputs, outputs, bound, initializer)));
    inputs = outputs;
  };
  for (int64_t width : spec.hidden()) add(width, 1 / std::sqrt(static_cast<double>(inputs)));
  add(features, 0);
}

ContractiveNetwork::Weights ContractiveNetwork::Normalised() const {
  Weights weights;
  for (const auto& layer : layers_) {
    const bool first = weights.matrices.empty();
    const Tensor matrix = first ? layer->weight.narrow(1, 0, features_) : layer->weight;
    const Tensor norm = torch::linalg_svdvals(matrix).select(0, 0);
    weights.matrices.push_back(matrix / (norm / coefficient_).clamp_min(1));
    weights.biases.push_back(layer->bias);
    const int64_t context = layer->weight.size(1) - features_;
    if (first && context > 0) weights.context_matrix = layer->weight.narrow(1, features_, context);
  }
  return weights;
}

ContractiveNetwork::Point ContractiveNetwork::Compute(const Weights& weights, const Tensor& x,
                                                      const Tensor& context) const {
  Point point;
  const double scale = 1 / Lipschitz(activation_);
  Tensor h = torch::linear(x, weights.matrices[0], weights.biases[0]);
  if (weights.context_matrix.defined()) h = h + torch::linear(context, weights.context_matrix);
  for (size_t k = 1; k < weights.matrices.size(); ++k) {
    const Activated activated = ActivateWithSlope(activation_, h);
    point.slopes.push_back(activated.slope * scale);
    h = torch::linear(activated.value * scale, weights.matrices[k], weights.biases[k]);
  }
  point.value = h;
  return point;
}

Tensor ContractiveNetwork::TimesJacobian(const Weights& weights, const Point& point, const Tensor& v) {
  Tensor product = torch::linear(v, weights.matrices[0]);
  for (size_t k = 1; k < weights.matrices.size(); ++k) {
    product = torch::linear(product * point.slopes[k - 1], weights.matrices[k]);
  }
  return product;
}

Tensor ContractiveNetwork::Jacobian(const Weights& weights, const Point& point) {
  if (point.slopes.empty()) return weights.matrices[0].unsqueeze(0).expand({point.value.size(0), -1, -1});
  Tensor product = point.slopes[0].unsqueeze(2) * weights.matrices[0];  // (N, hidden, D)
  for (size_t k = 1; k < weights.matrices.size(); ++k) {
    product = torch::matmul(weights.matrices[k], product);
    if (k < point.slopes.size()) product = point.slopes[k].unsqueeze(2) * product;
  }
  return product;
}

double ContractiveNetwork::Contraction() const { return std::pow(coefficient_, static_cast<double>(layers_.size())); }

}  // namespace densityd::flow
