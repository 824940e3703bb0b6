// Whether stored tensors are those that a spec asks for, by name and shape.
#pragma once

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/registry/tensor.h"

namespace densityd::engine {

/// DATA_LOSS whose section is the tensor's name where one of the flow's is missing or has another shape: to be asked
/// before the flow is made, whose size is what its spec says, however small the file is that it came in.
/// INVALID_ARGUMENT for a spec that is none.
absl::Status CheckShapes(const density::v1::FlowSpec& spec, absl::Span<const registry::Tensor> tensors);

}  // namespace densityd::engine
