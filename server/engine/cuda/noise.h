// Standard normal numbers on the device, from the source that makes them on the host (server/engine/philox.h).
#pragma once

#include <cstddef>

#include "cuda_runtime_api.h"
#include "server/base/matrix.h"
#include "server/engine/cuda/noise_key.h"

namespace densityd::engine::cuda {

/// Fills `out` (rows, columns), of `type`, with the noise that the `keys` (rows) name; both in the device's memory. In
/// order with what else is on `stream`; may be captured into a graph.
cudaError_t LaunchStandardNormal(const NoiseKey* keys, size_t rows, size_t columns, NumberType type, void* out,
                                 cudaStream_t stream);

}  // namespace densityd::engine::cuda
