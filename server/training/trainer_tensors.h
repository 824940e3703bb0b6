// The tensors of a training loop, to and from a checkpoint.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/registry/tensor.h"
#include "torch/types.h"

namespace densityd::training {

using NamedTensors = std::vector<std::pair<std::string, torch::Tensor>>;

/// Copies of `tensors`, of float32, float64, int64 or uint8 numbers, whatever they hold and wherever they lie.
std::vector<registry::Tensor> StoreTensors(const NamedTensors& tensors);

/// Writes stored numbers into `targets`, by name. DATA_LOSS where one is missing or has another shape or type.
absl::Status RestoreTensors(absl::Span<const registry::Tensor> stored, const NamedTensors& targets);

/// The stored tensor as one of its own, on the CPU. DATA_LOSS where there is none of that name.
absl::StatusOr<torch::Tensor> RestoreTensor(absl::Span<const registry::Tensor> stored, const std::string& name);

/// States of the generators that LibTorch draws from on `device`: the CPU's, and the device's own.
NamedTensors GeneratorStates(torch::Device device);
absl::Status RestoreGenerators(absl::Span<const registry::Tensor> stored, torch::Device device);

}  // namespace densityd::training
