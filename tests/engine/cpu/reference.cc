#include "tests/engine/cpu/reference.h"

#include <algorithm>
#include <memory>

#include "server/engine/weights.h"
#include "server/flow/column_map.h"
#include "server/flow/flow.h"

namespace densityd::engine::cpu {
namespace {

using torch::Tensor;

Tensor ToTensor(const std::vector<float>& numbers, size_t rows) {
  if (numbers.empty()) return Tensor();
  const auto cols = static_cast<int64_t>(numbers.size() / rows);
  return torch::tensor(numbers, torch::kFloat64).reshape({static_cast<int64_t>(rows), cols});
}

std::vector<double> ToVector(const Tensor& tensor) {
  const Tensor flat = tensor.contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

}  // namespace

ReferenceAnswer RunReference(const Model& model, Op op, const std::vector<float>& input,
                             const std::vector<float>& context, size_t rows) {
  const torch::NoGradGuard no_grad;
  const std::shared_ptr<flow::Flow> flow = *flow::BuildFlow(model.spec, 1);
  const absl::Status status = LoadWeights(*flow, model.tensors);
  if (!status.ok()) return {};
  flow->eval();
  const Tensor numbers = ToTensor(input, rows);
  const Tensor given = ToTensor(context, rows);
  ReferenceAnswer answer;
  switch (op) {
    case Op::kLogProb:
      answer.log = ToVector(flow->LogProb(numbers, given));
      break;
    case Op::kInverse:
    case Op::kForward: {
      const flow::Mapped mapped = op == Op::kInverse ? flow->Inverse(numbers, given) : flow->Forward(numbers, given);
      answer = {ToVector(mapped.value), ToVector(mapped.log_abs_det)};
      break;
    }
    case Op::kScore:  // Have no compiled form.
    case Op::kLogProbByColumn:
    case Op::kLogProbWithError:
      break;
    case Op::kSample: {
      const Tensor z = flow->BaseFromNoise(numbers, given);
      const flow::Mapped mapped = flow->Forward(z, given);
      // What is rounded has the density of its cell, not that of the number before.
      const auto& columns = model.spec.layers(0).preprocessing().columns();
      const bool is_rounded = std::any_of(columns.begin(), columns.end(),
                                          [](const auto& column) { return flow::FormOf(column).is_discrete(); });
      answer = {ToVector(mapped.value), ToVector(is_rounded ? flow->LogProb(mapped.value, given)
                                                            : flow->BaseLogProb(z, given) - mapped.log_abs_det)};
      break;
    }
  }
  return answer;
}

}  // namespace densityd::engine::cpu
