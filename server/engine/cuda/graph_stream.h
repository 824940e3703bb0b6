// A stream of a CUDA device on which a flow's LibTorch modules run as captured graphs. This header sees LibTorch.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "ATen/cuda/CUDAGraph.h"
#include "c10/cuda/CUDAStream.h"
#include "server/engine/cuda/buckets.h"
#include "server/engine/cuda/device_stream.h"
#include "server/engine/cuda/staging.h"
#include "server/flow/flow.h"

namespace densityd::engine::cuda {

/// Runs an operation and bucket for the first time op by op, which warms up the libraries, then captures the same work
/// into a graph that later runs replay: one launch instead of hundreds. Graphs read and write the stream's own buffers
/// on the device; they share one pool of memory, since only one runs at a time. What cannot be captured goes on op by
/// op.
class GraphStream final : public DeviceStream {
 public:
  /// `flow` is on `device` and is shared. LibTorch's exceptions pass.
  GraphStream(std::shared_ptr<flow::Flow> flow, torch::Device device, const RowFormat& format);
  ~GraphStream() override;

  std::byte* input() override { return static_cast<std::byte*>(host_input_.data_ptr()); }
  const std::byte* output() const override { return static_cast<const std::byte*>(host_output_.data_ptr()); }
  absl::Status Run(Op op, size_t bucket) override;
  void ReleaseMemory() override;

 private:
  /// How one operation and bucket is run.
  struct Program {
    std::unique_ptr<at::cuda::CUDAGraph> graph;  ///< null until it is captured
    bool is_eager = false;                       ///< never captured
  };

  void RunUnguarded(Op op, size_t bucket);
  /// From the device's input buffer to its output buffer, on the current stream, without waiting.
  void Compute(Op op, size_t bucket);
  torch::Tensor Input(Op op, const Staging& staging, size_t bucket);
  void Capture(Op op, size_t bucket, Program& program);
  /// The (rows, cols) numbers of `type` that begin at byte `begin` of a buffer.
  static torch::Tensor Section(const torch::Tensor& buffer, size_t begin, torch::ScalarType type, size_t rows,
                               size_t cols);

  const std::shared_ptr<flow::Flow> flow_;
  const torch::Device device_;
  const RowFormat format_;
  const c10::cuda::CUDAStream stream_;
  at::cuda::MempoolId_t pool_;
  torch::Tensor host_input_;  ///< pinned bytes
  torch::Tensor host_output_;
  torch::Tensor input_;  ///< the same on the device
  torch::Tensor output_;
  std::array<std::array<Program, kBuckets.size()>, kOpCount> programs_;
};

}  // namespace densityd::engine::cuda
