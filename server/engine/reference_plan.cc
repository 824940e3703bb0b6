#include "server/engine/reference_plan.h"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <string>
#include <utility>

#include "ATen/Parallel.h"
#include "c10/core/InferenceMode.h"
#include "server/base/errors.h"
#include "server/engine/describe_flow.h"
#include "server/engine/exceptions.h"
#include "server/engine/flow_runner.h"
#include "server/engine/philox.h"
#include "server/engine/rows.h"
#include "server/flow/chain_order.h"
#include "server/flow/flow.h"
#include "server/flow/row_error.h"
#include "server/flow/row_shape.h"
#include "server/flow/spec.h"

namespace densityd::engine {
namespace {

using flow::Flow;
using torch::Tensor;

/// Rows of one run. On a CPU, 256 … 512 rows are the fastest per row (D = 6, hidden 256x2: 10 us; 22 at 64 rows, 15 at
/// 4096, whose activations leave the cache), and small requests wait for a run to end. A GPU wants more.
constexpr size_t kCpuTileRows = 512;
constexpr size_t kCudaTileRows = 16384;

/// Activations of a network that a run holds at once, at most: those of a residual block, and the parameters of its
/// columns as a spline spreads them out. Gradients, which few ask for, hold more.
constexpr size_t kActivations = 10;

/// Numbers per row of the largest activation, by the largest tensor of weights.
size_t WidestActivation(const density::v1::FlowSpec& spec) {
  const flow::RowShape data = flow::DataShape(spec);
  int64_t widest = spec.features();
  for (const flow::TensorInfo& tensor : flow::FlowTensors(spec)) {
    // (out, in), or (out, in, 3, 3) of a convolution.
    if (tensor.shape.size() >= 2)
      widest = std::max(widest, tensor.shape[0] * (tensor.shape.size() > 2 ? data.pixels() : 1));
  }
  return static_cast<size_t>(widest);
}

/// What came out of the flow, on the host and contiguous. Undefined tensors stay so.
Tensor OnHost(const Tensor& tensor) { return tensor.defined() ? tensor.to(torch::kCPU).contiguous() : tensor; }

/// Rows of a result into the spans' `member`, in order.
void Scatter(const Tensor& result, absl::Span<const RowSpan> spans, MutableMatrix RowSpan::*member) {
  if (!result.defined()) return;
  const size_t row_bytes = result.size(0) == 0 ? 0 : result.nbytes() / static_cast<size_t>(result.size(0));
  const char* bytes = static_cast<const char*>(result.data_ptr());
  for (const RowSpan& span : spans) {
    if ((span.*member).data != nullptr) {
      if (result.scalar_type() == torch::kFloat32) {
        WriteRows(reinterpret_cast<const float*>(bytes), span.*member);
      } else {
        WriteRows(reinterpret_cast<const double*>(bytes), span.*member);
      }
    }
    bytes += span.rows * row_bytes;
  }
}

/// The error of one row of a run, with its place in its request.
absl::Status StatusOf(const flow::RowError& error, absl::Span<const RowSpan> spans) {
  auto row = static_cast<uint64_t>(error.row());
  for (const RowSpan& span : spans) {
    if (row < span.rows) return InvalidRow("rows", span.first_row + row, error.what());
    row -= span.rows;
  }
  return InternalError(error.what());
}

class ReferencePlan final : public Plan {
 public:
  ReferencePlan(std::shared_ptr<Flow> flow, const CompileOptions& options, std::string not_compiled_because);

  const PlanInfo& info() const override { return info_; }
  PlanDescription Describe(Op op) const override {
    return DescribeFlow(flow_->spec(), op, NumberBytes(info_.precision));
  }
  absl::Status Run(Op op, absl::Span<const RowSpan> spans, Workspace& workspace) const override;

 private:
  absl::Status RunUnguarded(Op op, absl::Span<const RowSpan> spans, size_t rows, Workspace& workspace) const;
  /// The (rows, cols) numbers that `fill` writes into `memory`, on the plan's device.
  template <typename Fill>
  Tensor Gather(NumberType type, size_t rows, size_t cols, std::byte* memory, const Fill& fill) const;
  /// Numbers per row that the flow is given: noise for a sample.
  size_t InputColumns(Op op) const { return op == Op::kSample ? noise_columns_ : info_.features; }
  Tensor GatherInput(Op op, absl::Span<const RowSpan> spans, size_t rows, std::byte* memory) const;
  Tensor GatherContext(absl::Span<const RowSpan> spans, size_t rows, std::byte* memory) const;

  // Its methods are not const, as LibTorch's are not; under inference mode they only read.
  const std::shared_ptr<Flow> flow_;
  const torch::Device device_;
  const PlanInfo info_;
  const size_t noise_columns_;     ///< numbers of noise per sampled row
  const NumberType data_type_;     ///< type in which x enters the flow
  const NumberType context_type_;  ///< type in which the context does
};

ReferencePlan::ReferencePlan(std::shared_ptr<Flow> flow, const CompileOptions& options,
                             std::string not_compiled_because)
    : flow_(std::move(flow)),
      device_(options.device),
      info_(ReferencePlanInfo(flow_->spec(), options, std::move(not_compiled_because))),
      noise_columns_(static_cast<size_t>(flow::NoiseColumns(flow_->spec().base(), flow_->spec().features()))),
      data_type_(DataType(flow_->spec(), options.precision)),
      context_type_(ContextType(flow_->spec(), options.precision)) {}

absl::Status ReferencePlan::Run(Op op, absl::Span<const RowSpan> spans, Workspace& workspace) const try {
  size_t rows = 0;
  for (const RowSpan& span : spans) rows += span.rows;
  if (rows == 0) return absl::OkStatus();
  if (rows > info_.tile_rows) return InternalError("a run has more rows than the plan's tile");
  return RunUnguarded(op, spans, rows, workspace);
} catch (const flow::RowError& error) {
  return StatusOf(error, spans);
} catch (const std::exception& error) {
  return ExceptionStatus(error, std::string("running ") + OpName(op) + " on " + info_.device);
}

absl::Status ReferencePlan::RunUnguarded(Op op, absl::Span<const RowSpan> spans, size_t rows,
                                         Workspace& workspace) const {
  // The scheduler has one worker per core already. The setting belongs to the thread.
  thread_local const bool one_thread = (at::set_num_threads(1), true);
  (void)one_thread;
  const c10::InferenceMode inference;
  const size_t input_bytes = rows * InputColumns(op) * sizeof(double);
  auto* memory =
      static_cast<std::byte*>(workspace.Reserve(input_bytes + rows * info_.context_features * sizeof(double)));
  if (memory == nullptr) return ResourceExhausted("memory", "not enough memory for the rows of a run");
  const Tensor input = GatherInput(op, spans, rows, memory);
  const Tensor context = GatherContext(spans, rows, memory + input_bytes);
  bool wants_log = false;
  for (const RowSpan& span : spans) wants_log |= span.log.data != nullptr;
  const flow::Mapped result = RunFlow(*flow_, op, input, context, wants_log);
  Scatter(OnHost(result.value), spans, &RowSpan::output);
  Scatter(OnHost(result.log_abs_det), spans, &RowSpan::log);
  return absl::OkStatus();
}

template <typename Fill>
Tensor ReferencePlan::Gather(NumberType type, size_t rows, size_t cols, std::byte* memory, const Fill& fill) const {
  if (type == NumberType::kFloat32) {
    fill(reinterpret_cast<float*>(memory));
  } else {
    fill(reinterpret_cast<double*>(memory));
  }
  return torch::from_blob(memory, {static_cast<int64_t>(rows), static_cast<int64_t>(cols)}, ScalarTypeOf(type))
      .to(device_);
}

Tensor ReferencePlan::GatherInput(Op op, absl::Span<const RowSpan> spans, size_t rows, std::byte* memory) const {
  const bool is_data = op != Op::kForward && op != Op::kSample;
  const size_t cols = InputColumns(op);
  return Gather(is_data ? data_type_ : info_.precision, rows, cols, memory, [&](auto* out) {
    for (const RowSpan& span : spans) {
      if (op == Op::kSample) {
        FillStandardNormal(span.seed, span.first_row, span.rows, cols, out);
      } else {
        ReadRows(span.input, out);
      }
      out += span.rows * cols;
    }
  });
}

Tensor ReferencePlan::GatherContext(absl::Span<const RowSpan> spans, size_t rows, std::byte* memory) const {
  const size_t cols = info_.context_features;
  if (cols == 0) return Tensor();
  return Gather(context_type_, rows, cols, memory, [&](auto* out) {
    for (const RowSpan& span : spans) {
      ReadContext(span.context, span.rows, out);
      out += span.rows * cols;
    }
  });
}

}  // namespace

PlanInfo ReferencePlanInfo(const density::v1::FlowSpec& spec, const CompileOptions& options,
                           std::string not_compiled_because) {
  const bool is_cuda = options.device != "cpu";
  PlanInfo info;
  info.kind = is_cuda ? "reference-cuda" : "reference-cpu";
  info.not_compiled_because = std::move(not_compiled_because);
  info.device = options.device;
  info.precision = options.precision;
  info.features = spec.features();
  info.context_features = spec.context_features();
  info.bytes = FlowBytes(spec, options.precision);
  const density::v1::FlowSpec full = flow::WithDefaults(spec);
  info.scores = true;
  info.has_chain_order = flow::ChainOrderOf(full).exists();
  info.is_estimate = flow::EstimatesLogProb(full);
  info.tile_rows =
      static_cast<size_t>(flow::RowsAtOnce(full, static_cast<int64_t>(is_cuda ? kCudaTileRows : kCpuTileRows)));
  const size_t input = std::max(info.features, static_cast<size_t>(flow::NoiseColumns(spec.base(), spec.features())));
  info.workspace_bytes = info.tile_rows * ((input + info.context_features) * sizeof(double) +
                                           kActivations * WidestActivation(full) * NumberBytes(options.precision));
  return info;
}

absl::StatusOr<std::unique_ptr<Plan>> CompileReferencePlan(const density::v1::FlowSpec& spec,
                                                           absl::Span<const registry::Tensor> tensors,
                                                           const CompileOptions& options,
                                                           std::string not_compiled_because) try {
  absl::StatusOr<std::shared_ptr<Flow>> flow = LoadFlow(spec, tensors, options);
  if (!flow.ok()) return flow.status();
  return std::make_unique<ReferencePlan>(*std::move(flow), options, std::move(not_compiled_because));
} catch (const std::exception& error) {
  return ExceptionStatus(error, "compiling the flow for " + options.device);
}

}  // namespace densityd::engine
