#include "server/training/flat_parameters.h"

namespace densityd::training {
namespace {

constexpr int64_t kAlignment = 16;  // numbers: 64 bytes of float32

}  // namespace

FlatParameters::FlatParameters(torch::nn::Module& module) {
  const auto parameters = module.named_parameters();
  int64_t size = 0;
  for (const auto& parameter : parameters) {
    ranges_.push_back({parameter.key(), size, parameter.value().numel()});
    size += (parameter.value().numel() + kAlignment - 1) / kAlignment * kAlignment;
  }
  const auto options =
      parameters.is_empty() ? torch::TensorOptions() : parameters.front().value().options().requires_grad(false);
  const torch::NoGradGuard no_grad;
  values_ = torch::zeros({size}, options);
  gradients_ = torch::zeros({size}, options);
  for (size_t i = 0; i < ranges_.size(); ++i) {
    torch::Tensor parameter = parameters[i].value();
    const torch::Tensor view = values_.narrow(0, ranges_[i].begin, ranges_[i].count).view(parameter.sizes());
    view.copy_(parameter);
    parameter.set_data(view);
    parameter.mutable_grad() = gradients_.narrow(0, ranges_[i].begin, ranges_[i].count).view(parameter.sizes());
  }
}

std::string FlatParameters::FirstNonfinite(const torch::Tensor& vector) const {
  for (const Range& range : ranges_) {
    if (!vector.narrow(0, range.begin, range.count).isfinite().all().item<bool>()) return range.name;
  }
  return "";
}

}  // namespace densityd::training
