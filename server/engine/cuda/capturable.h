// Which flows a CUDA graph can hold.
#pragma once

#include <string>

#include "density/v1/flow_spec.pb.h"

namespace densityd::engine::cuda {

/// Why a graph cannot replay the flow: its path and what is in the way; empty where it can. A graph repeats the same
/// kernels whatever the rows are, so that nothing in it may iterate until it has converged, and its noise is one normal
/// number per column. Precondition: flow::CheckFlowSpec(spec) is OK.
std::string ObstacleToGraphs(const density::v1::FlowSpec& spec);

}  // namespace densityd::engine::cuda
