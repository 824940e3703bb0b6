// A loaded model version as the row RPCs see it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/compile.h"
#include "server/engine/lazy_plan.h"
#include "server/engine/plan.h"
#include "server/explain/conditional.h"
#include "server/flow/chain_order.h"
#include "server/flow/context_column.h"
#include "server/registry/servable.h"
#include "server/rpc/calibration.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

/// The plans of a version, one per precision, and what is needed to interpret their answers. The float64 plan is made
/// when it is first needed; its memory counts from the beginning.
class ServedModel final : public registry::Servable {
 public:
  ServedModel(std::shared_ptr<const engine::Plan> float32, std::shared_ptr<const engine::LazyPlan> float64,
              TailProbability tail_probability, std::vector<explain::ColumnRange> column_ranges,
              std::vector<flow::ContextColumn> context_columns, flow::ChainOrder chain_order,
              std::shared_ptr<telemetry::ModelSeries> series, double solver_noise, int workers);

  size_t memory_bytes() const override;
  size_t scratch_bytes() const override;
  std::string plan_name() const override;
  bool rows_are_independent() const override;

  /// Plan that computes in `precision`.
  const std::shared_ptr<const engine::Plan>& plan(NumberType precision) const {
    return precision == NumberType::kFloat64 ? float64_ : float32_;
  }
  /// Plan that answers `op` in at least `precision`: gradients, and densities column by column, are computed in
  /// float64, by what is the reference for the compiled plans.
  const std::shared_ptr<const engine::Plan>& plan(engine::Op op, NumberType precision) const {
    const bool is_exact = op == engine::Op::kScore || op == engine::Op::kLogProbByColumn;
    return plan(is_exact ? NumberType::kFloat64 : precision);
  }
  /// The same, made where it was not, however long that takes. Valid as long as this.
  absl::StatusOr<const engine::Plan*> MadePlan(engine::Op op, NumberType precision) const;
  const TailProbability& tail_probability() const { return tail_probability_; }
  /// One per column, (D); empty where the version was stored without.
  const std::vector<explain::ColumnRange>& column_ranges() const { return column_ranges_; }
  /// What each column of an encoded context takes, (C); empty where the context is not encoded.
  const std::vector<flow::ContextColumn>& context_columns() const { return context_columns_; }
  /// In which order of columns the density factors, or why in none.
  const flow::ChainOrder& chain_order() const { return chain_order_; }
  /// How far log p may be off where layers solve differential equations, nats.
  double solver_noise() const { return solver_noise_; }
  telemetry::ModelSeries& series() const { return *series_; }

 private:
  std::shared_ptr<const engine::Plan> float32_;
  const engine::LazyPlan* lazy_float64_;  ///< float64_
  std::shared_ptr<const engine::Plan> float64_;
  TailProbability tail_probability_;
  std::vector<explain::ColumnRange> column_ranges_;
  std::vector<flow::ContextColumn> context_columns_;
  flow::ChainOrder chain_order_;
  std::shared_ptr<telemetry::ModelSeries> series_;
  double solver_noise_;
  int workers_;
};

/// Where plans come from: the engine and the store, or what a test puts in their place. Thread-safe.
struct PlanSource {
  /// engine::CompilePlan.
  std::function<absl::StatusOr<std::unique_ptr<engine::Plan>>(
      const density::v1::FlowSpec&, absl::Span<const registry::Tensor>, const engine::CompileOptions&)>
      compile;
  /// engine::Float64PlanInfo of the device.
  std::function<engine::PlanInfo(const density::v1::FlowSpec&)> float64_info;
  /// registry::ModelStore::Read: the weights once more, for the float64 plan.
  std::function<absl::StatusOr<registry::StoredVersion>(const std::string& name, uint64_t version)> read;
};

/// Makes ServedModels for `device`, which so many workers run. `metrics`, and what `source` refers to, outlive what the
/// loader made.
registry::Loader MakeLoader(PlanSource source, std::string device, int workers, telemetry::Metrics& metrics);

}  // namespace densityd::rpc
