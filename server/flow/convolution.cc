#include "server/flow/convolution.h"

#include <string>
#include <utility>
#include <vector>

#include "server/flow/activation.h"

namespace densityd::flow {
namespace {

using density::v1::Activation;

// Places of some columns among those of the channels that hold any of them; undefined where they are all of these.
class Places final : public Module {
 public:
  Places(const Columns& columns, const RowShape& shape) {
    const Columns channels = ChannelsWith(columns, shape);
    channels_ = static_cast<int64_t>(channels.size());
    if (static_cast<int64_t>(columns.size()) == channels_ * shape.pixels()) return;
    Columns places;
    size_t k = 0;
    for (int64_t column : columns) {
      while (channels[k] != column / shape.pixels()) ++k;
      places.push_back(static_cast<int64_t>(k) * shape.pixels() + column % shape.pixels());
    }
    places_ = RegisterConstant(torch::tensor(places, torch::kInt64));
  }

  int64_t channels() const { return channels_; }
  // (N, columns) -> (N, channels * pixels), zero elsewhere.
  Tensor Spread(const Tensor& columns, int64_t pixels) const {
    if (!places_.defined()) return columns;
    return torch::zeros({columns.size(0), channels_ * pixels}, columns.options()).index_copy(1, places_, columns);
  }
  // (N, channels * pixels, P) -> (N, columns, P).
  Tensor Pick(const Tensor& numbers) const { return places_.defined() ? numbers.index_select(1, places_) : numbers; }

 private:
  int64_t channels_ = 0;
  Tensor places_;
};

// y = W * x + b over images (N, channels, height, width): a linear layer of the size x size pixels around each one.
class Convolution final : public LinearLayer {
 public:
  Convolution(int64_t inputs, int64_t outputs, int64_t size, Start start, Initializer& initializer)
      : LinearLayer({inputs * size * size, {}}, {outputs, {}}, start, initializer),
        shape_{outputs, inputs, size, size},
        bias_(named_parameters(/*recurse=*/false)["bias"]) {}

  Tensor Apply(const Tensor& x) const {
    return torch::conv2d(x, weight().view(shape_), bias_, /*stride=*/1, /*padding=*/shape_[2] / 2);
  }

 private:
  const std::vector<int64_t> shape_;
  const Tensor bias_;
};

// h += W2 act(W1 act(h)).
class ConvBlock final : public Module {
 public:
  ConvBlock(const density::v1::ConvResNet& spec, Initializer& initializer) : activation_(spec.activation()) {
    const int64_t channels = spec.channels();
    first_ = register_module("0", std::make_shared<Convolution>(channels, channels, 3, Start::kUniform, initializer));
    second_ = register_module("1", std::make_shared<Convolution>(channels, channels, 1, Start::kSmall, initializer));
  }
  Tensor Apply(const Tensor& h) const {
    return h + second_->Apply(Activate(activation_, first_->Apply(Activate(activation_, h))));
  }

 private:
  const Activation activation_;
  std::shared_ptr<Convolution> first_;
  std::shared_ptr<Convolution> second_;
};

class ConvConditioner final : public Conditioner {
 public:
  ConvConditioner(const density::v1::ConvResNet& spec, const Pixels& pixels, int64_t context_features,
                  Initializer& initializer)
      : activation_(spec.activation()),
        shape_(pixels.shape),
        parameters_(pixels.parameters),
        columns_(static_cast<int64_t>(pixels.inputs.size())) {
    inputs_ = register_module("inputs", std::make_shared<Places>(pixels.inputs, shape_));
    outputs_ = register_module("outputs", std::make_shared<Places>(pixels.outputs, shape_));
    const int64_t channels = spec.channels();
    input_ = register_module("input", std::make_shared<Convolution>(inputs_->channels() + context_features, channels, 3,
                                                                    Start::kUniform, initializer));
    const auto blocks = register_module("blocks", std::make_shared<Module>());
    for (uint32_t b = 0; b < spec.blocks(); ++b) {
      blocks_.push_back(std::make_shared<ConvBlock>(spec, initializer));
      blocks->register_module(std::to_string(b), blocks_.back());
    }
    output_ = register_module("output", std::make_shared<Convolution>(channels, outputs_->channels() * parameters_, 3,
                                                                      Start::kZero, initializer));
  }

 private:
  Tensor Run(const Tensor& input) override {
    Tensor h = input_->Apply(Image(input));
    for (const auto& block : blocks_) h = block->Apply(h);
    h = output_->Apply(Activate(activation_, h));
    // (N, channels, parameters, pixels) -> (N, channels * pixels, parameters).
    const Tensor numbers = h.view({-1, outputs_->channels(), parameters_, shape_.pixels()}).transpose(2, 3);
    return outputs_->Pick(numbers.reshape({h.size(0), outputs_->channels() * shape_.pixels(), parameters_})).flatten(1);
  }

  // The pixels, and the context at each of them.
  Tensor Image(const Tensor& input) const {
    const Tensor columns = input.narrow(1, 0, columns_);
    const Tensor image =
        inputs_->Spread(columns, shape_.pixels()).reshape({-1, inputs_->channels(), shape_.height, shape_.width});
    if (input.size(1) == columns_) return image;
    const Tensor context = input.slice(1, columns_).unsqueeze(2).unsqueeze(3);
    return torch::cat({image, context.expand({-1, -1, shape_.height, shape_.width})}, 1);
  }

  const Activation activation_;
  const RowShape shape_;
  const int64_t parameters_;
  const int64_t columns_;  // before the context
  std::shared_ptr<Places> inputs_;
  std::shared_ptr<Places> outputs_;
  std::shared_ptr<Convolution> input_;
  std::vector<std::shared_ptr<ConvBlock>> blocks_;
  std::shared_ptr<Convolution> output_;
};

}  // namespace

std::shared_ptr<Conditioner> MakeConvConditioner(const density::v1::ConvResNet& spec, const Pixels& pixels,
                                                 int64_t context_features, Initializer& initializer) {
  return std::make_shared<ConvConditioner>(spec, pixels, context_features, initializer);
}

}  // namespace densityd::flow
