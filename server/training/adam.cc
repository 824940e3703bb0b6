#include "server/training/adam.h"

#include <optional>
#include <utility>

#include "ATen/ops/_fused_adam.h"
#include "ATen/ops/_fused_adamw.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"

namespace densityd::training {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
constexpr double kEpsilon = 1e-8;

}  // namespace

Adam::Adam(torch::Tensor values, const density::v1::TrainingOptions& options)
    : values_(std::move(values)),
      first_moment_(at::zeros_like(values_)),
      second_moment_(at::zeros_like(values_)),
      steps_(at::zeros({}, values_.options().dtype(at::kFloat))),
      weight_decay_(options.weight_decay()),
      decoupled_(options.optimizer() == density::v1::TrainingOptions::ADAMW) {}

void Adam::Step(const torch::Tensor& gradients, double learning_rate) {
  const torch::NoGradGuard no_grad;
  steps_ += 1;
  // Overload with a learning rate that is a number.
  using FusedStep = void (*)(at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList,
                             at::TensorList, double, double, double, double, double, bool, bool,
                             const std::optional<at::Tensor>&, const std::optional<at::Tensor>&);
  const FusedStep step =
      decoupled_ ? static_cast<FusedStep>(at::_fused_adamw_) : static_cast<FusedStep>(at::_fused_adam_);
  step({values_}, {gradients}, {first_moment_}, {second_moment_}, /*max_exp_avg_sqs=*/{}, {steps_}, learning_rate,
       kBeta1, kBeta2, weight_decay_, kEpsilon, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{},
       /*found_inf=*/{});
}

void Adam::Reset() {
  first_moment_.zero_();
  second_moment_.zero_();
  steps_.zero_();
}

std::vector<std::pair<const char*, torch::Tensor>> Adam::state() const {
  return {{"first_moment", first_moment_}, {"second_moment", second_moment_}, {"steps", steps_}};
}

}  // namespace densityd::training
