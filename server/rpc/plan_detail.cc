#include "server/rpc/plan_detail.h"

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::rpc {
namespace {

density::v1::RowOp RowOpOf(engine::Op op) {
  switch (op) {
    case engine::Op::kLogProb:
    case engine::Op::kLogProbByColumn:
    case engine::Op::kLogProbWithError:
      return density::v1::ROW_OP_LOG_PROB;
    case engine::Op::kInverse:
      return density::v1::ROW_OP_INVERSE;
    case engine::Op::kForward:
      return density::v1::ROW_OP_FORWARD;
    case engine::Op::kSample:
      return density::v1::ROW_OP_SAMPLE;
    case engine::Op::kScore:
      return density::v1::ROW_OP_SCORE;
  }
  return density::v1::ROW_OP_UNSPECIFIED;
}

void Fill(const engine::StepDescription& step, density::v1::PlanStep& to) {
  to.set_op(step.op);
  to.set_inputs(step.inputs);
  to.set_outputs(step.outputs);
  to.set_multiply_adds(step.multiply_adds);
  to.set_dense_multiply_adds(step.dense_multiply_adds);
  to.set_weight_bytes(step.weight_bytes);
}

void Fill(const engine::LayerDescription& layer, density::v1::PlanLayer& to) {
  to.set_kind(layer.kind);
  to.set_shape(layer.shape);
  to.set_dense_multiply_adds(layer.dense_multiply_adds);
  to.set_passes(layer.passes);
  to.set_multiply_adds(layer.multiply_adds);
  to.set_weight_bytes(layer.weight_bytes);
  for (const engine::StepDescription& step : layer.steps) Fill(step, *to.add_steps());
}

}  // namespace

absl::StatusOr<engine::Op> ResolveOp(std::string_view field, density::v1::RowOp op) {
  switch (op) {
    case density::v1::ROW_OP_UNSPECIFIED:
    case density::v1::ROW_OP_LOG_PROB:
      return engine::Op::kLogProb;
    case density::v1::ROW_OP_INVERSE:
      return engine::Op::kInverse;
    case density::v1::ROW_OP_FORWARD:
      return engine::Op::kForward;
    case density::v1::ROW_OP_SAMPLE:
      return engine::Op::kSample;
    case density::v1::ROW_OP_SCORE:
      return engine::Op::kScore;
    default:
      return InvalidArgument(field, absl::StrCat(static_cast<int>(op), " is no RowOp"));
  }
}

density::v1::PlanDetail DescribePlan(const engine::Plan& plan, engine::Op op) {
  const engine::PlanInfo& info = plan.info();
  const engine::PlanDescription description = plan.Describe(op);
  density::v1::PlanDetail detail;
  detail.set_op(RowOpOf(op));
  detail.set_precision(info.precision == NumberType::kFloat64 ? density::v1::PRECISION_FLOAT64
                                                              : density::v1::PRECISION_FLOAT32);
  detail.set_kind(info.kind);
  detail.set_not_compiled_because(info.not_compiled_because);
  detail.set_device(info.device);
  detail.set_instructions(info.instructions);
  detail.set_rows_are_independent(info.rows_are_independent);
  detail.set_tile_rows(info.tile_rows);
  detail.set_bytes(info.bytes);
  detail.set_workspace_bytes(info.workspace_bytes);
  detail.set_multiply_adds(description.multiply_adds());
  detail.set_dense_multiply_adds(description.dense_multiply_adds());
  for (const engine::LayerDescription& layer : description.layers) Fill(layer, *detail.add_layers());
  for (const engine::RunTime::Point& point : plan.run_time(op).points()) {
    density::v1::PlanTime& time = *detail.add_times();
    time.set_rows(point.rows);
    time.set_seconds(point.seconds);
  }
  return detail;
}

}  // namespace densityd::rpc
