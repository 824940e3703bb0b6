// A loaded model version as the row RPCs see it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/compile.h"
#include "server/engine/plan.h"
#include "server/registry/servable.h"
#include "server/rpc/calibration.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

/// The plans of a version, one per precision, and what is needed to interpret their answers. Immutable.
class ServedModel final : public registry::Servable {
 public:
  ServedModel(std::shared_ptr<const engine::Plan> float32, std::shared_ptr<const engine::Plan> float64,
              TailProbability tail_probability, std::shared_ptr<telemetry::ModelSeries> series);

  size_t memory_bytes() const override;
  std::string plan_name() const override;
  bool rows_are_independent() const override;

  /// Plan that computes in `precision`.
  const std::shared_ptr<const engine::Plan>& plan(NumberType precision) const {
    return precision == NumberType::kFloat64 ? float64_ : float32_;
  }
  const TailProbability& tail_probability() const { return tail_probability_; }
  telemetry::ModelSeries& series() const { return *series_; }

 private:
  std::shared_ptr<const engine::Plan> float32_;
  std::shared_ptr<const engine::Plan> float64_;
  TailProbability tail_probability_;
  std::shared_ptr<telemetry::ModelSeries> series_;
};

/// engine::CompilePlan, or what a test puts in its place.
using PlanCompiler = std::function<absl::StatusOr<std::unique_ptr<engine::Plan>>(
    const density::v1::FlowSpec&, absl::Span<const registry::Tensor>, const engine::CompileOptions&)>;

/// Makes ServedModels: compiles both precisions for `device`. `metrics` outlives what the loader made.
registry::Loader MakeLoader(PlanCompiler compile, std::string device, telemetry::Metrics& metrics);

}  // namespace densityd::rpc
