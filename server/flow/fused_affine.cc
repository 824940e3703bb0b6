#include "server/flow/fused_affine.h"

#include "torch/csrc/autograd/custom_function.h"

namespace densityd::flow {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

BoundedAffine StoredMap(AutogradContext& context) {
  return {static_cast<float>(context.saved_data["bound"].toDouble()),
          static_cast<float>(context.saved_data["sign"].toDouble()), context.saved_data["shifts_first"].toBool()};
}

class FusedAffineFunction final : public torch::autograd::Function<FusedAffineFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& x, const Tensor& theta,
                               const BoundedAffine& map) {
    const Tensor y = torch::empty(x.sizes());
    const Tensor log_g = torch::empty(x.sizes());
    MapNumbers(map, {static_cast<size_t>(x.numel()), x.const_data_ptr<float>(), theta.const_data_ptr<float>(),
                     y.mutable_data_ptr<float>(), log_g.mutable_data_ptr<float>()});
    context->saved_data["bound"] = static_cast<double>(map.bound);
    context->saved_data["sign"] = static_cast<double>(map.sign);
    context->saved_data["shifts_first"] = map.shifts_first;
    context->save_for_backward({map.shifts_first ? y : x, log_g});
    return {y, log_g};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const BoundedAffine map = StoredMap(*context);
    const variable_list saved = context->get_saved_variables();
    if (at::GradMode::is_enabled()) return Differentiably(map, saved[0], saved[1], gradients[0], gradients[1]);
    const Tensor by_y = gradients[0].contiguous();
    const Tensor by_log_g = gradients[1].contiguous();
    const Tensor by_x = torch::empty(by_y.sizes());
    const Tensor by_theta = torch::empty({by_y.size(0), by_y.size(1), 2});
    DifferentiateNumbers(
        map, {static_cast<size_t>(by_y.numel()), saved[0].const_data_ptr<float>(), saved[1].const_data_ptr<float>(),
              by_y.const_data_ptr<float>(), by_log_g.const_data_ptr<float>(), by_x.mutable_data_ptr<float>(),
              by_theta.mutable_data_ptr<float>()});
    return {by_x, by_theta, Tensor()};
  }

 private:
  // As DifferentiateNumbers, in operations that LibTorch can differentiate.
  static variable_list Differentiably(const BoundedAffine& map, const Tensor& x_or_y, const Tensor& log_g,
                                      const Tensor& by_y, const Tensor& by_log_g) {
    const Tensor by_x = by_y * log_g.exp();
    const Tensor by_log = (map.shifts_first ? by_y : by_x) * x_or_y + by_log_g;
    const Tensor by_a = by_log * map.sign * (1 - (log_g / map.bound).square());
    return {by_x, torch::stack({by_a, map.shifts_first ? -by_x : by_y}, -1), Tensor()};
  }
};

}  // namespace

bool SuitsFusedAffine(const Tensor& x, const Tensor& theta) {
  const auto suits = [](const Tensor& tensor) {
    return tensor.device().is_cpu() && tensor.scalar_type() == torch::kFloat32;
  };
  return at::GradMode::is_enabled() && suits(x) && suits(theta) && theta.sizes().slice(0, 2) == x.sizes();
}

MappedColumns FusedAffine(const BoundedAffine& map, const Tensor& x, const Tensor& theta) {
  const variable_list mapped = FusedAffineFunction::apply(x.contiguous(), theta.contiguous(), map);
  return {mapped[0], mapped[1]};
}

}  // namespace densityd::flow
