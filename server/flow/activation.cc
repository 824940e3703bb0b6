#include "server/flow/activation.h"

#include <cmath>
#include <numbers>

namespace densityd::flow {

using torch::Tensor;

Tensor Activate(density::v1::Activation activation, const Tensor& h) {
  switch (activation) {
    case density::v1::TANH:
      return torch::tanh(h);
    case density::v1::GELU:
      return torch::gelu(h);
    case density::v1::SILU:
      return torch::silu(h);
    case density::v1::LEAKY_RELU:
      return torch::leaky_relu(h, 0.01);
    case density::v1::ELU:
      return torch::elu(h);
    default:
      return torch::relu(h);
  }
}

Activated ActivateWithSlope(density::v1::Activation activation, const Tensor& h) {
  switch (activation) {
    case density::v1::TANH: {
      const Tensor t = torch::tanh(h);
      return {t, 1 - t.square()};
    }
    case density::v1::GELU: {
      const Tensor cdf = torch::special_ndtr(h);
      const Tensor density = (-0.5 * h.square()).exp() / std::sqrt(2 * std::numbers::pi);
      return {h * cdf, cdf + h * density};
    }
    case density::v1::SILU: {
      const Tensor s = torch::sigmoid(h);
      return {h * s, s * (1 + h * (1 - s))};
    }
    case density::v1::LEAKY_RELU:
      return {torch::leaky_relu(h, 0.01), torch::ones_like(h).masked_fill(h < 0, 0.01)};
    case density::v1::ELU:
      return {torch::elu(h), h.clamp_max(0).exp()};
    default:
      return {torch::relu(h), (h > 0).to(h.scalar_type())};
  }
}

}  // namespace densityd::flow
