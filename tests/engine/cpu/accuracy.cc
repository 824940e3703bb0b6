#include "tests/engine/cpu/accuracy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/engine/reference_plan.h"

namespace densityd::engine::cpu {
namespace {

bool HasSplines(const Model& model) {
  return std::any_of(model.spec.layers().begin(), model.spec.layers().end(), [](const density::v1::Layer& layer) {
    return layer.elementwise().univariate().has_rational_quadratic_spline() ||
           layer.coupling().univariate().has_rational_quadratic_spline() ||
           layer.autoregressive().univariate().has_rational_quadratic_spline();
  });
}

}  // namespace

double Error(double number, double truth) {
  if (number == truth) return 0;
  if (!std::isfinite(number)) return std::numeric_limits<double>::infinity();
  return std::abs(number - truth) / (1e-4 + 1e-5 * std::abs(truth));
}

double TailError(const std::vector<float>& numbers, const std::vector<double>& truth) {
  if (truth.empty()) return 0;
  std::vector<double> errors;
  for (size_t i = 0; i < truth.size(); ++i) errors.push_back(Error(numbers[i], truth[i]));
  std::sort(errors.begin(), errors.end());
  return errors[std::min(errors.size() - 1, errors.size() * 999 / 1000)];
}

double TailError(const Answer& answer, const ReferenceAnswer& truth) {
  return std::max(TailError(answer.log, truth.log), TailError(answer.value, truth.value));
}

double AllowedError(const Model& model, Op op, const Rows& rows, const ReferenceAnswer& truth) {
  if (!HasSplines(model)) return 1;
  const auto plan =
      CompileReferencePlan(model.spec, model.tensors, {"cpu", NumberType::kFloat32, PlanChoice::kReference});
  if (!plan.ok()) return 0;
  return std::max(1.0, 4 * TailError(RunPlan(**plan, op, rows, (*plan)->info().tile_rows), truth));
}

}  // namespace densityd::engine::cpu
