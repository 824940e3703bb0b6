// A flow compiled for the CPU: float32, rows as SIMD lanes.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/plan.h"
#include "server/registry/tensor.h"

namespace densityd::engine::cpu {

/// A plan of kind "compiled-cpu": a row's bits depend on that row, the op and the weights alone. Run does not allocate
/// once the workspace has grown. INVALID_ARGUMENT and DATA_LOSS as CompilePlan; UNIMPLEMENTED, naming the layer, where
/// a layer has no compiled form; RESOURCE_EXHAUSTED where memory is short.
absl::StatusOr<std::unique_ptr<Plan>> CompileCpuPlan(const density::v1::FlowSpec& spec,
                                                     absl::Span<const registry::Tensor> tensors);

}  // namespace densityd::engine::cpu
