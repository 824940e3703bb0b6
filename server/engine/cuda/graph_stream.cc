#include "server/engine/cuda/graph_stream.h"

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "absl/base/const_init.h"
#include "absl/synchronization/mutex.h"
#include "c10/core/InferenceMode.h"
#include "c10/cuda/CUDACachingAllocator.h"
#include "c10/cuda/CUDAException.h"
#include "c10/cuda/CUDAGuard.h"
#include "server/base/logging.h"
#include "server/engine/cuda/noise.h"
#include "server/engine/describe_flow.h"
#include "server/engine/exceptions.h"
#include "server/engine/flow_runner.h"

namespace densityd::engine::cuda {
namespace {

using torch::Tensor;

/// The sequential direction of a wide autoregressive flow runs its networks once per column: beyond this many passes a
/// graph of all of their kernels takes more memory and time to make than it is worth.
constexpr uint64_t kMostPasses = 1024;

/// Gradients are not recorded into a graph, and what few ask for is not worth one.
bool IsEverCaptured(Op op) {
  return op == Op::kLogProb || op == Op::kInverse || op == Op::kForward || op == Op::kSample;
}

/// Captures of different threads would get into each other's memory pools.
ABSL_CONST_INIT absl::Mutex capture_mutex(absl::kConstInit);

uint64_t PassesOf(const flow::Flow& flow, Op op) {
  uint64_t passes = 0;
  for (const LayerDescription& layer : DescribeFlow(flow.spec(), op, sizeof(float)).layers) passes += layer.passes;
  return passes;
}

Tensor Bytes(size_t count, const torch::TensorOptions& options) {
  return torch::zeros({static_cast<int64_t>(count)}, options.dtype(torch::kUInt8));
}

/// Ends a capture in which something failed, so that the stream and the allocator are as before.
void AbandonCapture(at::cuda::CUDAGraph& graph, const c10::cuda::CUDAStream& stream, at::cuda::MempoolId_t pool) {
  try {
    graph.capture_end();
  } catch (const std::exception&) {
    // It throws before it tells the allocator where the capture itself was broken.
    try {
      c10::cuda::CUDACachingAllocator::endAllocateToPool(stream.device_index(), pool);
    } catch (const std::exception&) {  // it was told
    }
  }
  (void)cudaGetLastError();  // what broke the capture is known, and must not be found by the next call
}

}  // namespace

GraphStream::GraphStream(std::shared_ptr<flow::Flow> flow, torch::Device device, const RowFormat& format)
    : flow_(std::move(flow)),
      device_(device),
      format_(format),
      stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())),
      pool_(at::cuda::graph_pool_handle()) {
  const c10::cuda::CUDAStreamGuard on_stream(stream_);
  const c10::InferenceMode inference;
  const StagingBytes bytes = LargestStaging(format_);
  host_input_ = Bytes(bytes.in, torch::TensorOptions().pinned_memory(true));
  host_output_ = Bytes(bytes.out, torch::TensorOptions().pinned_memory(true));
  input_ = Bytes(bytes.in, torch::TensorOptions().device(device_));
  output_ = Bytes(bytes.out, torch::TensorOptions().device(device_));
  for (int op = 0; op < kOpCount; ++op) {
    const bool is_eager = !IsEverCaptured(static_cast<Op>(op)) || PassesOf(*flow_, static_cast<Op>(op)) > kMostPasses;
    for (Program& program : programs_[op]) program.is_eager = is_eager;
  }
  stream_.synchronize();
}

GraphStream::~GraphStream() {
  try {
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    stream_.synchronize();
  } catch (const std::exception& error) {
    Log(LogLevel::kWarning, "device not reached while a plan was freed", {{"error", error.what()}});
  }
}

absl::Status GraphStream::Run(Op op, size_t bucket) try {
  const c10::cuda::CUDAStreamGuard on_stream(stream_);
  const c10::InferenceMode inference;
  RunUnguarded(op, bucket);
  return absl::OkStatus();
} catch (const std::exception& error) {
  return ExceptionStatus(error, std::string("running ") + OpName(op) + " on " + device_.str());
}

void GraphStream::RunUnguarded(Op op, size_t bucket) {
  const Staging staging = LayOut(format_, op, bucket);
  const auto in_bytes = static_cast<int64_t>(staging.in_bytes);
  const auto out_bytes = static_cast<int64_t>(staging.out_bytes);
  Program& program = programs_[static_cast<size_t>(op)][BucketIndex(bucket)];
  input_.narrow(0, 0, in_bytes).copy_(host_input_.narrow(0, 0, in_bytes), /*non_blocking=*/true);
  if (program.graph != nullptr) {
    program.graph->replay();
  } else {
    Compute(op, bucket);
  }
  host_output_.narrow(0, 0, out_bytes).copy_(output_.narrow(0, 0, out_bytes), /*non_blocking=*/true);
  stream_.synchronize();
  if (program.graph == nullptr && !program.is_eager) Capture(op, bucket, program);
}

void GraphStream::Compute(Op op, size_t bucket) {
  const Staging staging = LayOut(format_, op, bucket);
  const Tensor input = Input(op, staging, bucket);
  Tensor context;
  if (format_.context_features > 0) {
    context = Section(input_, staging.context, ScalarTypeOf(format_.context), bucket, format_.context_features);
  }
  const flow::Mapped result = RunFlow(*flow_, op, input, context, /*wants_log=*/true);
  if (result.value.defined()) {
    Section(output_, staging.output, ScalarTypeOf(OutputType(format_, op)), bucket, format_.features)
        .copy_(result.value, /*non_blocking=*/true);
  }
  Section(output_, staging.log, torch::kFloat64, bucket, 1)
      .copy_(result.log_abs_det.unsqueeze(1), /*non_blocking=*/true);
}

Tensor GraphStream::Input(Op op, const Staging& staging, size_t bucket) {
  const torch::ScalarType type = ScalarTypeOf(InputType(format_, op));
  if (op != Op::kSample) return Section(input_, staging.input, type, bucket, format_.features);
  Tensor noise = torch::empty({static_cast<int64_t>(bucket), static_cast<int64_t>(format_.features)},
                              torch::TensorOptions().dtype(type).device(device_));
  const auto* keys =
      reinterpret_cast<const NoiseKey*>(static_cast<const std::byte*>(input_.data_ptr()) + staging.input);
  C10_CUDA_CHECK(
      LaunchStandardNormal(keys, bucket, format_.features, InputType(format_, op), noise.data_ptr(), stream_.stream()));
  return noise;
}

void GraphStream::Capture(Op op, size_t bucket, Program& program) {
  const absl::MutexLock lock(&capture_mutex);
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  bool has_begun = false;
  try {
    // Other threads may use the device meanwhile.
    graph->capture_begin(pool_, cudaStreamCaptureModeThreadLocal);
    has_begun = true;
    Compute(op, bucket);
    has_begun = false;
    graph->capture_end();
    program.graph = std::move(graph);
  } catch (const std::exception& error) {
    // The rows were computed before. Without a graph they take longer, and that is all.
    if (has_begun) AbandonCapture(*graph, stream_, pool_);
    program.is_eager = true;
    Log(LogLevel::kWarning, "graph not captured",
        {{"op", OpName(op)}, {"rows", bucket}, {"error", ExceptionStatus(error, "capturing").ToString()}});
  }
}

void GraphStream::ReleaseMemory() {
  try {
    const c10::cuda::CUDAStreamGuard on_stream(stream_);
    stream_.synchronize();
    for (auto& of_op : programs_) {
      for (Program& program : of_op) program.graph.reset();
    }
    // A pool whose graphs are all gone is not used again.
    pool_ = at::cuda::graph_pool_handle();
    c10::cuda::CUDACachingAllocator::emptyCache();
  } catch (const std::exception& error) {
    Log(LogLevel::kWarning, "device memory not released", {{"error", error.what()}});
  }
}

Tensor GraphStream::Section(const Tensor& buffer, size_t begin, torch::ScalarType type, size_t rows, size_t cols) {
  const auto bytes = static_cast<int64_t>(rows * cols * torch::elementSize(type));
  return buffer.narrow(0, static_cast<int64_t>(begin), bytes)
      .view(type)
      .view({static_cast<int64_t>(rows), static_cast<int64_t>(cols)});
}

}  // namespace densityd::engine::cuda
