// What a flow costs where LibTorch runs its layers.
#pragma once

#include <cstddef>

#include "density/v1/flow_spec.pb.h"
#include "server/engine/plan.h"

namespace densityd::engine {

/// The layers of `spec` in the order of `op`. Every weight is used, masked or not; the sequential direction of an
/// autoregressive layer runs its network once per column. `number_bytes`: of one weight. Precondition:
/// flow::CheckFlowSpec(spec) is OK.
PlanDescription DescribeFlow(const density::v1::FlowSpec& spec, Op op, size_t number_bytes);

}  // namespace densityd::engine
