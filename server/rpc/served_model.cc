#include "server/rpc/served_model.h"

#include <algorithm>
#include <utility>

#include "server/base/errors.h"
#include "server/base/freed_memory.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/flow/solver_noise.h"
#include "server/rpc/column_ranges.h"

namespace densityd::rpc {
namespace {

/// A spec was checked before its version was published: an error in it now is damage.
absl::Status OfStoredSpec(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  return DataLoss("manifest.json", "spec", ToStd(status.message()));
}

/// Reads the version again: its weights were not kept for what few ask for.
engine::LazyPlan::Make Float64Maker(const PlanSource& source, const std::string& device, const std::string& name,
                                    uint64_t version) {
  return [source, device, name, version]() -> absl::StatusOr<std::unique_ptr<engine::Plan>> {
    const GivingMemoryBack giving;  // on a thread of its own, which would leave behind what it read
    const absl::StatusOr<registry::StoredVersion> stored = source.read(name, version);
    if (!stored.ok()) return stored.status();
    auto plan = source.compile(stored->manifest.spec(), stored->tensors, {device, NumberType::kFloat64});
    if (!plan.ok()) return OfStoredSpec(plan.status());
    Log(LogLevel::kInfo, "float64 plan made", {{"model", name}, {"version", version}, {"plan", (*plan)->info().kind}});
    return plan;
  };
}

}  // namespace

ServedModel::ServedModel(std::shared_ptr<const engine::Plan> float32, std::shared_ptr<const engine::LazyPlan> float64,
                         TailProbability tail_probability, std::vector<explain::ColumnRange> column_ranges,
                         std::vector<flow::ContextColumn> context_columns, flow::ChainOrder chain_order,
                         std::shared_ptr<telemetry::ModelSeries> series, double solver_noise, int workers)
    : float32_(std::move(float32)),
      lazy_float64_(float64.get()),
      float64_(std::move(float64)),
      tail_probability_(std::move(tail_probability)),
      column_ranges_(std::move(column_ranges)),
      context_columns_(std::move(context_columns)),
      chain_order_(std::move(chain_order)),
      series_(std::move(series)),
      solver_noise_(solver_noise),
      workers_(workers) {}

size_t ServedModel::memory_bytes() const { return float32_->info().bytes + float64_->info().bytes; }

size_t ServedModel::scratch_bytes() const {
  return static_cast<size_t>(workers_) * std::max(float32_->info().workspace_bytes, float64_->info().workspace_bytes);
}

std::string ServedModel::plan_name() const { return float32_->info().kind; }

bool ServedModel::rows_are_independent() const { return float32_->info().rows_are_independent; }

absl::StatusOr<const engine::Plan*> ServedModel::MadePlan(engine::Op op, NumberType precision) const {
  const std::shared_ptr<const engine::Plan>& one = plan(op, precision);
  if (one == float64_) return lazy_float64_->Await();
  return one.get();
}

registry::Loader MakeLoader(PlanSource source, std::string device, int workers, telemetry::Metrics& metrics) {
  return [source = std::move(source), device = std::move(device), workers, &metrics](
             const registry::StoredVersion& stored) -> absl::StatusOr<std::shared_ptr<const registry::Servable>> {
    auto tail_probability = TailProbability::Create(stored.manifest.calibration());
    if (!tail_probability.ok()) return tail_probability.status();
    auto float32 = source.compile(stored.manifest.spec(), stored.tensors, {device, NumberType::kFloat32});
    if (!float32.ok()) return OfStoredSpec(float32.status());
    auto float64 = std::make_shared<engine::LazyPlan>(source.float64_info(stored.manifest.spec()),
                                                      Float64Maker(source, device, stored.name, stored.version));
    return std::make_shared<ServedModel>(
        *std::move(float32), std::move(float64), *std::move(tail_probability), ColumnRanges(stored.manifest),
        flow::ContextColumns(stored.manifest.spec().context_encoding()), flow::ChainOrderOf(stored.manifest.spec()),
        metrics.ForModel(stored.name), flow::SolverNoise(stored.manifest.spec()), workers);
  };
}

}  // namespace densityd::rpc
