#include "server/engine/cuda/cuda_plan.h"

#include <exception>
#include <utility>

#include "server/engine/cuda/bucket_plan.h"
#include "server/engine/cuda/graph_stream.h"
#include "server/engine/describe_flow.h"
#include "server/engine/exceptions.h"
#include "server/engine/flow_runner.h"
#include "server/flow/chain_order.h"
#include "server/flow/spec.h"
#include "torch/cuda.h"

namespace densityd::engine::cuda {
namespace {

RowFormat FormatOf(const density::v1::FlowSpec& spec, NumberType precision) {
  return {spec.features(), spec.context_features(), DataType(spec, precision), precision, ContextType(spec, precision)};
}

}  // namespace

PlanInfo CudaPlanInfo(const density::v1::FlowSpec& spec, const CompileOptions& options) {
  const RowFormat format = FormatOf(spec, options.precision);
  const StagingBytes staging = LargestStaging(format);
  PlanInfo info;
  info.kind = "cuda";
  info.device = options.device;
  info.precision = options.precision;
  info.features = spec.features();
  info.context_features = spec.context_features();
  info.bytes = FlowBytes(spec, options.precision);
  info.scores = true;
  // Continuous and residual flows, which estimate log p, have no graphs.
  info.has_chain_order = flow::ChainOrderOf(flow::WithDefaults(spec)).exists();
  info.tile_rows = LargestRun(format);
  info.workspace_bytes = staging.in + staging.out;
  return info;
}

absl::StatusOr<std::unique_ptr<Plan>> CompileCudaPlan(const density::v1::FlowSpec& spec,
                                                      absl::Span<const registry::Tensor> tensors,
                                                      const CompileOptions& options) try {
  absl::StatusOr<std::shared_ptr<flow::Flow>> loaded = LoadFlow(spec, tensors, options);
  if (!loaded.ok()) return loaded.status();
  const std::shared_ptr<flow::Flow> flow = *std::move(loaded);
  const torch::Device device(options.device);
  // The weights were copied on another stream than those that will read them.
  torch::cuda::synchronize(device.index());

  BucketPlanParts parts;
  parts.info = CudaPlanInfo(spec, options);
  parts.format = FormatOf(spec, options.precision);
  parts.describe = [flow, number_bytes = NumberBytes(options.precision)](Op op) {
    return DescribeFlow(flow->spec(), op, number_bytes);
  };
  parts.make_stream = [flow, device, format = parts.format]() -> absl::StatusOr<std::unique_ptr<DeviceStream>> {
    try {
      return std::make_unique<GraphStream>(flow, device, format);
    } catch (const std::exception& error) {
      return ExceptionStatus(error, "making a stream on " + device.str());
    }
  };
  return MakeBucketPlan(std::move(parts));
} catch (const std::exception& error) {
  return ExceptionStatus(error, "compiling the flow for " + options.device);
}

}  // namespace densityd::engine::cuda
