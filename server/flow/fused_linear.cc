#include "server/flow/fused_linear.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "ATen/Parallel.h"
#include "server/flow/matrix_product.h"
#include "torch/csrc/autograd/custom_function.h"

namespace densityd::flow {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Multiply-adds below which a thread is not worth waking.
constexpr int64_t kWorkOfThread = 1 << 18;
// Columns that a thread takes at a time: whole cache lines.
constexpr int64_t kGatedColumns = 64;

bool UsesKernels(const Tensor& x, const Tensor& weight) {
  const auto suits = [](const Tensor& tensor) {
    return tensor.device().is_cpu() && tensor.scalar_type() == torch::kFloat32;
  };
  return suits(x) && suits(weight) && weight.is_contiguous();
}

const IndexRange* Ranges(const Tensor& table) {
  static_assert(sizeof(IndexRange) == 2 * sizeof(int32_t), "a row of the table is a range");
  return table.defined() ? reinterpret_cast<const IndexRange*>(table.const_data_ptr<int32_t>()) : nullptr;
}

void SetLeft(MatrixProduct& product, const Tensor& left) {
  product.rows = left.size(0);
  product.depth = left.size(1);
  product.left = left.const_data_ptr<float>();
  product.left_row_step = left.stride(0);
  product.left_depth_step = left.stride(1);
}

void SetRight(MatrixProduct& product, const Tensor& right) {
  product.columns = right.size(1);
  product.right = right.const_data_ptr<float>();
  product.right_depth_step = right.stride(0);
  product.right_column_step = right.stride(1);
}

Tensor Multiply(MatrixProduct product) {
  Tensor out = torch::empty({static_cast<int64_t>(product.rows), static_cast<int64_t>(product.columns)});
  product.out = out.mutable_data_ptr<float>();
  const Tensor packed = torch::empty({static_cast<int64_t>(PackedSize(product))});
  PackRight(product, packed.mutable_data_ptr<float>());
  const auto row_work = static_cast<int64_t>(product.depth * product.columns);
  at::parallel_for(
      0, static_cast<int64_t>(product.rows), kWorkOfThread / std::max<int64_t>(row_work, 1) + 1,
      [&](int64_t begin, int64_t end) { MultiplyRows(product, packed.const_data_ptr<float>(), begin, end); });
  return out;
}

// The gradient before the ReLU, if `output` is that of one, and its sum over the rows.
std::pair<Tensor, Tensor> Gate(const Tensor& gradient, const Tensor& output) {
  const int64_t columns = gradient.size(1);
  const Tensor gated = output.defined() ? torch::empty_like(gradient) : gradient;
  const Tensor sums = torch::empty({columns});
  GradientGate gate;
  gate.rows = gradient.size(0);
  gate.columns = columns;
  gate.gradient = gradient.const_data_ptr<float>();
  gate.sums = sums.mutable_data_ptr<float>();
  if (output.defined()) {
    gate.output = output.const_data_ptr<float>();
    gate.gated = gated.mutable_data_ptr<float>();
  }
  const int64_t blocks = (columns + kGatedColumns - 1) / kGatedColumns;
  const int64_t block_work = std::max<int64_t>(gradient.size(0) * kGatedColumns, 1);
  at::parallel_for(0, blocks, kWorkOfThread / block_work + 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kGatedColumns;
    GateGradient(gate, first, std::min(end * kGatedColumns, columns) - first);
  });
  return {gated, sums};
}

class FusedLinearFunction final : public torch::autograd::Function<FusedLinearFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const std::optional<Tensor>& factors, const std::optional<Tensor>& of_outputs,
                        const std::optional<Tensor>& of_inputs, bool relu) {
    const Tensor y = Forward(x, weight, bias, of_outputs.value_or(Tensor()), relu);
    context->save_for_backward(
        {x, weight, relu ? y : Tensor(), factors.value_or(Tensor()), of_inputs.value_or(Tensor())});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor& x = saved[0];
    const Tensor& weight = saved[1];
    const Tensor& output = saved[2];
    const Tensor& factors = saved[3];
    variable_list result(7);
    if (!UsesKernels(x, weight) || at::GradMode::is_enabled()) {
      const Tensor gradient = output.defined() ? gradients[0] * (output > 0) : gradients[0];
      if (context->needs_input_grad(0)) result[0] = gradient.mm(weight);
      result[1] = gradient.t().mm(x);
      if (factors.defined()) result[1] = result[1] * factors;
      result[2] = gradient.sum(0);
      return result;
    }
    const auto [gradient, sums] = Gate(gradients[0].contiguous(), output);
    if (context->needs_input_grad(0)) {
      MatrixProduct product;
      SetLeft(product, gradient);
      SetRight(product, weight);
      product.depth_of_column = Ranges(saved[4]);
      result[0] = Multiply(product);
    }
    MatrixProduct product;
    SetLeft(product, gradient.t());
    SetRight(product, x);
    if (factors.defined()) {
      product.rows_of_column = Ranges(saved[4]);
      product.factors = factors.const_data_ptr<float>();
    }
    result[1] = Multiply(product);
    result[2] = sums;
    return result;
  }

 private:
  static Tensor Forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& of_outputs,
                        bool relu) {
    if (!UsesKernels(x, weight)) {
      const Tensor y = torch::linear(x, weight, bias);
      return relu ? torch::relu(y) : y;
    }
    MatrixProduct product;
    SetLeft(product, x);
    SetRight(product, weight.t());
    product.bias = bias.const_data_ptr<float>();
    product.relu = relu;
    product.depth_of_column = Ranges(of_outputs);
    return Multiply(product);
  }
};

// First and one past the last one of each row of `factors`.
Tensor RangesOfRows(const Tensor& factors) {
  const int64_t columns = factors.size(1);
  const Tensor is_one = factors != 0;
  const Tensor first = is_one.to(torch::kInt32).argmax(1);
  const Tensor last = columns - is_one.flip(1).to(torch::kInt32).argmax(1);
  const Tensor ranges = torch::stack({first, last}, 1) * is_one.any(1, /*keepdim=*/true);
  return ranges.to(torch::kInt32).contiguous();
}

}  // namespace

WeightMask MakeWeightMask(const Tensor& factors) {
  const Tensor on_cpu = factors.to(torch::kCPU);
  return {factors.contiguous(), RangesOfRows(on_cpu), RangesOfRows(on_cpu.t())};
}

Tensor FusedLinear(const Tensor& x, const Tensor& weight, const Tensor& bias, const WeightMask& mask, bool relu) {
  // The kernels take rows whose numbers are neighbours.
  const Tensor rows = x.stride(1) == 1 ? x : x.contiguous();
  // An undefined tensor is no argument of a function with a gradient.
  const auto optional = [](const Tensor& tensor) { return tensor.defined() ? std::optional(tensor) : std::nullopt; };
  return FusedLinearFunction::apply(rows, weight, bias, optional(mask.factors), optional(mask.of_outputs),
                                    optional(mask.of_inputs), relu);
}

}  // namespace densityd::flow
