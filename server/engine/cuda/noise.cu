#include <cstdint>

#include "server/engine/cuda/noise.h"
#include "server/engine/philox.h"

namespace densityd::engine::cuda {
namespace {

constexpr unsigned kThreads = 128;

/// One thread makes the numbers of two neighbouring columns of a row, which come as a pair.
template <typename Number>
__global__ void StandardNormalKernel(const NoiseKey* keys, uint64_t rows, uint64_t columns, Number* out) {
  const uint64_t blocks = (columns + 1) / 2;
  const uint64_t index = uint64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= rows * blocks) return;
  const uint64_t row = index / blocks;
  const uint64_t block = index % blocks;
  const NormalPair pair = StandardNormalPair(keys[row].seed, keys[row].row, static_cast<uint32_t>(block));
  Number* to = out + row * columns + 2 * block;
  to[0] = static_cast<Number>(pair.first);
  if (2 * block + 1 < columns) to[1] = static_cast<Number>(pair.second);
}

}  // namespace

cudaError_t LaunchStandardNormal(const NoiseKey* keys, size_t rows, size_t columns, NumberType type, void* out,
                                 cudaStream_t stream) {
  const uint64_t pairs = uint64_t{rows} * ((columns + 1) / 2);
  if (pairs == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((pairs + kThreads - 1) / kThreads);
  if (type == NumberType::kFloat32) {
    StandardNormalKernel<<<blocks, kThreads, 0, stream>>>(keys, rows, columns, static_cast<float*>(out));
  } else {
    StandardNormalKernel<<<blocks, kThreads, 0, stream>>>(keys, rows, columns, static_cast<double*>(out));
  }
  return cudaGetLastError();
}

}  // namespace densityd::engine::cuda
