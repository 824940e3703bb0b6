#include "server/flow/conditioner.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/flow/activated_linear.h"
#include "server/flow/activation.h"
#include "server/flow/made_degrees.h"

namespace densityd::flow {
namespace {

using density::v1::Activation;

// The hidden units of a given width.
using HiddenUnits = std::function<Units(int64_t width)>;

// Linear, activation, …, linear.
class MlpConditioner final : public Conditioner {
 public:
  MlpConditioner(const density::v1::Mlp& spec, Units from, const HiddenUnits& hidden, const Units& outputs,
                 Initializer& initializer)
      : activation_(spec.activation()) {
    for (int64_t width : spec.hidden()) {
      const Units to = hidden(width);
      Add(from, to, Start::kUniform, initializer);
      from = to;
    }
    Add(from, outputs, Start::kZero, initializer);
  }

 private:
  void Add(const Units& from, const Units& to, Start start, Initializer& initializer) {
    const std::string name = std::to_string(layers_.size());
    layers_.push_back(register_module(name, std::make_shared<ActivatedLinear>(from, to, start, initializer)));
  }

  Tensor Run(const Tensor& input) override {
    Tensor h = input;
    for (size_t k = 0; k + 1 < layers_.size(); ++k) h = layers_[k]->Apply(h, activation_);
    return layers_.back()->Apply(h);
  }

  const Activation activation_;
  std::vector<std::shared_ptr<ActivatedLinear>> layers_;
};

// h += W2 dropout(act(W1 act(h))).
class ResidualBlock final : public Module {
 public:
  ResidualBlock(const density::v1::ResidualMlp& spec, const Units& units, Initializer& initializer)
      : activation_(spec.activation()), dropout_(spec.dropout()) {
    first_ = register_module("0", std::make_shared<ActivatedLinear>(units, units, Start::kUniform, initializer));
    second_ = register_module("1", std::make_shared<ActivatedLinear>(units, units, Start::kSmall, initializer));
  }

  Tensor Apply(const Tensor& h) const {
    const Tensor inner = first_->Apply(Activate(activation_, h), activation_);
    return h + second_->Apply(dropout_ > 0 ? torch::dropout(inner, dropout_, is_training()) : inner);
  }

 private:
  const Activation activation_;
  const double dropout_;
  std::shared_ptr<ActivatedLinear> first_;
  std::shared_ptr<ActivatedLinear> second_;
};

class ResidualConditioner final : public Conditioner {
 public:
  ResidualConditioner(const density::v1::ResidualMlp& spec, const Units& inputs, const Units& hidden,
                      const Units& outputs, Initializer& initializer) {
    input_ = register_module("input", std::make_shared<ActivatedLinear>(inputs, hidden, Start::kUniform, initializer));
    const auto blocks = register_module("blocks", std::make_shared<Module>());
    for (uint32_t b = 0; b < spec.blocks(); ++b) {
      blocks_.push_back(std::make_shared<ResidualBlock>(spec, hidden, initializer));
      blocks->register_module(std::to_string(b), blocks_.back());
    }
    output_ = register_module("output", std::make_shared<ActivatedLinear>(hidden, outputs, Start::kZero, initializer));
  }

 private:
  Tensor Run(const Tensor& input) override {
    Tensor h = input_->Apply(input);
    for (const auto& block : blocks_) h = block->Apply(h);
    return output_->Apply(h);
  }

  std::shared_ptr<ActivatedLinear> input_;
  std::vector<std::shared_ptr<ResidualBlock>> blocks_;
  std::shared_ptr<ActivatedLinear> output_;
};

std::shared_ptr<Conditioner> Make(const density::v1::Conditioner& spec, const Units& inputs, const HiddenUnits& hidden,
                                  const Units& outputs, Initializer& initializer) {
  if (!spec.has_residual_mlp()) {
    return std::make_shared<MlpConditioner>(spec.mlp(), inputs, hidden, outputs, initializer);
  }
  return std::make_shared<ResidualConditioner>(spec.residual_mlp(), inputs, hidden(spec.residual_mlp().hidden()),
                                               outputs, initializer);
}

Units WithDegrees(std::vector<int64_t> degrees) {
  const auto count = static_cast<int64_t>(degrees.size());
  return {count, std::move(degrees)};
}

}  // namespace

Tensor Conditioner::Compute(const Tensor& columns, const Tensor& context) {
  if (!context.defined()) return Run(columns);
  return Run(columns.defined() ? torch::cat({columns, context}, 1) : context);
}

std::shared_ptr<Conditioner> MakeConditioner(const density::v1::Conditioner& spec, int64_t inputs,
                                             int64_t context_features, int64_t outputs, Initializer& initializer) {
  const HiddenUnits hidden = [](int64_t width) { return Units{width, {}}; };
  return Make(spec, Units{inputs + context_features, {}}, hidden, Units{outputs, {}}, initializer);
}

std::shared_ptr<Conditioner> MakeMaskedConditioner(const density::v1::Conditioner& spec, const Columns& order,
                                                   const Columns& repeated, int64_t context_features,
                                                   int64_t parameters, Initializer& initializer) {
  const auto features = static_cast<int64_t>(order.size());
  const HiddenUnits hidden = [=](int64_t width) {
    return WithDegrees(HiddenDegrees(width, features, context_features > 0));
  };
  std::vector<int64_t> inputs = InputDegrees(order, context_features);
  std::vector<int64_t> again;
  for (int64_t column : repeated) again.push_back(inputs[column]);
  inputs.insert(inputs.begin() + features, again.begin(), again.end());
  return Make(spec, WithDegrees(std::move(inputs)), hidden, WithDegrees(OutputDegrees(order, parameters)), initializer);
}

}  // namespace densityd::flow
