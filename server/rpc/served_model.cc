#include "server/rpc/served_model.h"

#include <utility>

#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

/// A spec was checked before its version was published: an error in it now is damage.
absl::Status OfStoredSpec(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  return DataLoss("manifest.json", "spec", ToStd(status.message()));
}

}  // namespace

ServedModel::ServedModel(std::shared_ptr<const engine::Plan> float32, std::shared_ptr<const engine::Plan> float64,
                         TailProbability tail_probability, std::shared_ptr<telemetry::ModelSeries> series)
    : float32_(std::move(float32)),
      float64_(std::move(float64)),
      tail_probability_(std::move(tail_probability)),
      series_(std::move(series)) {}

size_t ServedModel::memory_bytes() const { return float32_->info().bytes + float64_->info().bytes; }

std::string ServedModel::plan_name() const { return float32_->info().kind; }

bool ServedModel::rows_are_independent() const { return float32_->info().rows_are_independent; }

registry::Loader MakeLoader(PlanCompiler compile, std::string device, telemetry::Metrics& metrics) {
  return [compile = std::move(compile), device = std::move(device), &metrics](
             const registry::StoredVersion& stored) -> absl::StatusOr<std::shared_ptr<const registry::Servable>> {
    auto tail_probability = TailProbability::Create(stored.manifest.calibration());
    if (!tail_probability.ok()) return tail_probability.status();
    auto float32 = compile(stored.manifest.spec(), stored.tensors, {device, NumberType::kFloat32});
    if (!float32.ok()) return OfStoredSpec(float32.status());
    auto float64 = compile(stored.manifest.spec(), stored.tensors, {device, NumberType::kFloat64});
    if (!float64.ok()) return OfStoredSpec(float64.status());
    return std::make_shared<ServedModel>(*std::move(float32), *std::move(float64), *std::move(tail_probability),
                                         metrics.ForModel(stored.name));
  };
}

}  // namespace densityd::rpc
