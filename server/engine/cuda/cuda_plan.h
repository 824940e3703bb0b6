// A flow on a CUDA device. Free of LibTorch headers.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/compile.h"
#include "server/engine/plan.h"
#include "server/registry/tensor.h"

namespace densityd::engine::cuda {

/// What info() of a plan for `options` will say, without making it. Precondition: flow::CheckFlowSpec(spec) is OK.
PlanInfo CudaPlanInfo(const density::v1::FlowSpec& spec, const CompileOptions& options);

/// A plan of kind "cuda": the flow's LibTorch modules, captured into CUDA graphs for a few numbers of rows. It serves
/// the flows that have no ObstacleToGraphs (capturable.h), in both precisions; CompilePlan serves the others op by op.
/// info().rows_are_independent is false: a row's last bits depend on the number of rows that its run was rounded up to.
/// Noise is made on the device and is that of every other plan. Errors as CompilePlan.
absl::StatusOr<std::unique_ptr<Plan>> CompileCudaPlan(const density::v1::FlowSpec& spec,
                                                      absl::Span<const registry::Tensor> tensors,
                                                      const CompileOptions& options);

}  // namespace densityd::engine::cuda
