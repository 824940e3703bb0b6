// Probes of stochastic trace estimates.
#pragma once

#include <cstdint>

#include "torch/types.h"

namespace densityd::flow {

/// (rows, columns) of -1 and 1, in float64: the same numbers on every machine.
torch::Tensor Rademacher(int64_t rows, int64_t columns, uint64_t seed);

/// As many as `probes`, of its type and place, for another draw of the probes that Rademacher made of `seed`.
torch::Tensor OtherRademacher(const torch::Tensor& probes, uint64_t seed, uint64_t draw);

/// Fresh ones, from LibTorch's global generator.
torch::Tensor RandomRademacher(torch::IntArrayRef shape, const torch::TensorOptions& options);

}  // namespace densityd::flow
