// Weights between a LibTorch module and named tensors as they are stored. Free of LibTorch headers.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/registry/tensor.h"

namespace torch::nn {
class Module;
}  // namespace torch::nn

namespace densityd::engine {

/// All parameters and buffers of `flow`, by their names in the module tree ("layers.0.log_scale"), in the module's
/// order. Floating-point tensors keep their type; integers are stored as int64, booleans as bytes 0 and 1. Tensors may
/// live on any device. INVALID_ARGUMENT naming a tensor with a non-finite number (such a model must not be published);
/// INTERNAL for a type that cannot be stored or a failing device.
absl::StatusOr<std::vector<registry::Tensor>> FlowToTensors(const torch::nn::Module& flow);

/// Writes `tensors` into the parameters and buffers of the same names, in any order, converting float32 and float64 to
/// the module's type. All or nothing: on an error `flow` is unchanged. DATA_LOSS whose section is the tensor's name:
/// missing, not of this flow, named twice, of another shape, of another kind of number, of the wrong size, or with a
/// non-finite number.
absl::Status LoadWeights(torch::nn::Module& flow, absl::Span<const registry::Tensor> tensors);

}  // namespace densityd::engine
