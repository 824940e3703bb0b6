// The sizes of runs on a device: a CUDA graph computes a fixed number of rows, so runs are rounded up to a few sizes.
#pragma once

#include <array>
#include <cstddef>

namespace densityd::engine::cuda {

/// Rows of a run. Small ones cost what the launch of a graph costs, whatever they hold; the larger ones waste at most
/// three quarters of their rows, and twenty kernels of a few more rows are still cheaper than twenty launches.
inline constexpr std::array<size_t, 8> kBuckets = {1, 4, 16, 64, 256, 1024, 4096, 16384};

/// The smallest bucket that holds `rows`. Precondition: there is one.
constexpr size_t BucketFor(size_t rows) {
  for (size_t bucket : kBuckets) {
    if (rows <= bucket) return bucket;
  }
  return kBuckets.back();
}

/// The position of `bucket` in kBuckets. Precondition: it is one.
constexpr size_t BucketIndex(size_t bucket) {
  size_t index = 0;
  while (index + 1 < kBuckets.size() && kBuckets[index] != bucket) ++index;
  return index;
}

}  // namespace densityd::engine::cuda
