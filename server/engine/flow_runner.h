// A flow's LibTorch modules as plans run them. This header sees LibTorch: only for .cc files of the engine.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/compile.h"
#include "server/engine/plan.h"
#include "server/flow/flow.h"
#include "server/registry/tensor.h"

namespace densityd::engine {

torch::ScalarType ScalarTypeOf(NumberType type);

/// The types in which rows and context enter a flow that computes in `precision`: what is standardised first comes in
/// float64, so that columns with large means keep their differences.
NumberType DataType(const density::v1::FlowSpec& spec, NumberType precision);
NumberType ContextType(const density::v1::FlowSpec& spec, NumberType precision);

/// The flow with its weights, ready to serve on the device. Errors as CompilePlan; LibTorch's exceptions pass.
absl::StatusOr<std::shared_ptr<flow::Flow>> LoadFlow(const density::v1::FlowSpec& spec,
                                                     absl::Span<const registry::Tensor> tensors,
                                                     const CompileOptions& options);

/// Memory of the flow's weights and masks in `precision`; an upper bound. Precondition: flow::CheckFlowSpec(spec) is
/// OK.
size_t FlowBytes(const density::v1::FlowSpec& spec, NumberType precision);

/// A run's rows and their log p or log|det|: `input` is x, z, or for kSample standard normal numbers, NoiseColumns of
/// each row. Without `wants_log`, a sample's log p is undefined. Under inference mode.
flow::Mapped RunFlow(flow::Flow& flow, Op op, const torch::Tensor& input, const torch::Tensor& context, bool wants_log);

}  // namespace densityd::engine
