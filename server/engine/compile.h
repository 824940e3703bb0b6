// Compiles a stored model version into plans.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/engine/plan.h"
#include "server/registry/tensor.h"

namespace densityd::engine {

/// Which plan is made.
enum class PlanChoice {
  kFastest,    ///< the compiled plan where there is one for the flow, the device and the precision
  kReference,  ///< LibTorch, op by op
};

/// What to compile for.
struct CompileOptions {
  std::string device = "cpu";  ///< "cpu" or "cuda:<n>"; see ResolveDevice
  NumberType precision = NumberType::kFloat32;
  PlanChoice choice = PlanChoice::kFastest;
};

/// Turns --device ("auto", "cpu", "cuda", "cuda:<n>") into "cpu" or "cuda:<n>". INVALID_ARGUMENT for anything else;
/// FAILED_PRECONDITION where CUDA is asked for and absent.
absl::StatusOr<std::string> ResolveDevice(const std::string& flag);

/// What info() of a float64 plan of `spec` on `device` will say, without making it. Precondition: the spec was compiled
/// for the device before, or flow::CheckFlowSpec(spec) is OK.
PlanInfo Float64PlanInfo(const density::v1::FlowSpec& spec, const std::string& device, PlanChoice choice);

/// Plan of the flow that `spec` describes with the weights `tensors`; info().kind says which one it is. DATA_LOSS where
/// the tensors do not fit the spec (which tensor, and how); INVALID_ARGUMENT for a spec that is not valid;
/// RESOURCE_EXHAUSTED where memory is short.
absl::StatusOr<std::unique_ptr<Plan>> CompilePlan(const density::v1::FlowSpec& spec,
                                                  absl::Span<const registry::Tensor> tensors,
                                                  const CompileOptions& options);

}  // namespace densityd::engine
