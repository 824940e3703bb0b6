#include "server/flow/velocity_network.h"

#include <numbers>
#include <string>

#include "server/flow/activation.h"

namespace densityd::flow {

VelocityNetwork::VelocityNetwork(const density::v1::Continuous& spec, int64_t features, int64_t context_features,
                                 Initializer& initializer)
    : activation_(spec.network().activation()), features_(features), exact_features_(spec.exact_trace_features()) {
  const int64_t frequencies = spec.time_frequencies();
  if (frequencies > 0) {
    frequencies_ = RegisterConstant(torch::arange(1, frequencies + 1, torch::kFloat64) * std::numbers::pi);
  }
  Units from{features + (frequencies > 0 ? 2 * frequencies : 1) + context_features, {}};
  const auto add = [&](int64_t outputs, Start start) {
    const Units to{outputs, {}};
    layers_.push_back(
        register_module(std::to_string(layers_.size()), std::make_shared<LinearLayer>(from, to, start, initializer)));
    from = to;
  };
  for (int64_t width : spec.network().hidden()) add(width, Start::kUniform);
  add(features, Start::kZero);
}

bool VelocityNetwork::NeedsProbes(Wanted wanted) const {
  const bool has_form = layers_.size() <= 3;
  return !is_exact() && (wanted.squared_norm || (wanted.trace && !has_form));
}

Tensor VelocityNetwork::TraceForm() const {
  // tr(W_n s W_1) = tr(s W_1 W_n): the product goes round.
  if (layers_.size() == 2) return (ColumnWeights() * layers_[1]->weight().t()).sum(1, /*keepdim=*/true);
  if (layers_.size() == 3) return torch::matmul(ColumnWeights(), layers_[2]->weight()) * layers_[1]->weight().t();
  return Tensor();
}

Tensor VelocityNetwork::Inputs(const Tensor& x, const Tensor& t, const Tensor& context) const {
  std::vector<Tensor> inputs = {x};
  if (frequencies_.defined()) {
    const Tensor angles = t * frequencies_;
    inputs.push_back(angles.cos());
    inputs.push_back(angles.sin());
  } else {
    inputs.push_back(t);
  }
  if (context.defined()) inputs.push_back(context);
  return torch::cat(inputs, 1);
}

Tensor VelocityNetwork::Velocity(const Tensor& x, const Tensor& t, const Tensor& context) const {
  Tensor h = layers_.front()->Apply(Inputs(x, t, context));
  for (size_t k = 1; k < layers_.size(); ++k) h = layers_[k]->Apply(Activate(activation_, h));
  return h;
}

VelocityNetwork::Field VelocityNetwork::Compute(const Tensor& trace_form, const Tensor& x, const Tensor& t,
                                                const Tensor& context, const Tensor& probes, Wanted wanted) const {
  std::vector<Tensor> slopes;  // (M, hidden)
  Tensor h = layers_.front()->Apply(Inputs(x, t, context));
  for (size_t k = 1; k < layers_.size(); ++k) {
    const Activated activated = ActivateWithSlope(activation_, h);
    slopes.push_back(activated.slope);
    h = layers_[k]->Apply(activated.value);
  }
  Field field{h, Tensor(), Tensor()};
  if (wanted.trace && trace_form.defined()) {
    const Tensor form = torch::matmul(slopes[0], trace_form);
    field.trace = slopes.size() == 1 ? form : (form * slopes[1]).sum(1, /*keepdim=*/true);
    wanted.trace = false;
  }
  if (!wanted.trace && !wanted.squared_norm) return field;
  const Tensor directions = is_exact() ? torch::eye(features_, x.options()).unsqueeze(1) : probes.transpose(0, 1);
  const double weight = is_exact() ? 1.0 : 1.0 / static_cast<double>(directions.size(0));
  const Tensor products = TimesJacobian(slopes, directions);
  if (wanted.trace) field.trace = weight * (products * directions).sum(2).sum(0).unsqueeze(1);
  if (wanted.squared_norm) field.squared_norm = weight * products.square().sum(2).sum(0).unsqueeze(1);
  return field;
}

Tensor VelocityNetwork::TimesJacobian(const std::vector<Tensor>& slopes, const Tensor& directions) const {
  Tensor product = torch::linear(directions, ColumnWeights());
  for (size_t k = 1; k < layers_.size(); ++k) product = torch::linear(product * slopes[k - 1], layers_[k]->weight());
  return product;
}

}  // namespace densityd::flow
