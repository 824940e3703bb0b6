// The plan that runs a flow's LibTorch modules, op by op: serves whatever has no compiled form, on any device that
// LibTorch knows, and is what every compiled plan is tested against. Free of LibTorch headers.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/compile.h"
#include "server/engine/plan.h"
#include "server/registry/tensor.h"

namespace densityd::engine {

/// What info() of a reference plan will say, without making it. Precondition: flow::CheckFlowSpec(spec) is OK.
PlanInfo ReferencePlanInfo(const density::v1::FlowSpec& spec, const CompileOptions& options,
                           std::string not_compiled_because);

/// As CompilePlan, always with LibTorch. A float32 plan takes float64 rows and context as they are where the flow
/// standardises them first, so that columns with large means keep their differences.
/// info().rows_are_independent is false: LibTorch's matrix products round differently for other numbers of rows. The
/// noise of kSample does not depend on how rows are cut. `not_compiled_because` goes into info().
absl::StatusOr<std::unique_ptr<Plan>> CompileReferencePlan(const density::v1::FlowSpec& spec,
                                                           absl::Span<const registry::Tensor> tensors,
                                                           const CompileOptions& options,
                                                           std::string not_compiled_because = "");

}  // namespace densityd::engine
