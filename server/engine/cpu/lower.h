// FlowSpec and stored tensors -> LoweredFlow.
#pragma once

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/cpu/lowered.h"
#include "server/registry/tensor.h"

namespace densityd::engine::cpu {

/// The flow of `spec` with the weights `tensors`, neighbouring affine layers folded into one. INVALID_ARGUMENT for a
/// spec that is not valid or not fitted; DATA_LOSS where the tensors do not fit it; UNIMPLEMENTED, naming the layer,
/// for what has no compiled form.
absl::StatusOr<LoweredFlow> LowerFlow(const density::v1::FlowSpec& spec, absl::Span<const registry::Tensor> tensors);

}  // namespace densityd::engine::cpu
