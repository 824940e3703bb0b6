// Which rows each step is taken on.
#pragma once

#include <cstdint>
#include <vector>

#include "torch/types.h"

namespace densityd::training {

/// Batches without replacement: every epoch goes through a new random order of the rows, and leaves out the remainder
/// that fills no batch. A pure function of (seed, step). Not thread-safe.
class BatchOrder {
 public:
  /// Precondition: 1 <= batch_size <= rows.
  BatchOrder(uint64_t seed, int64_t rows, int64_t batch_size);

  /// Indices of the rows of step `step`: (batch_size), int64, on the CPU. Valid until the next call.
  torch::Tensor Batch(uint64_t step);

 private:
  const uint64_t seed_;
  const int64_t rows_;
  const int64_t batch_size_;
  const uint64_t batches_per_epoch_;
  uint64_t epoch_ = 0;
  std::vector<int64_t> order_;
};

}  // namespace densityd::training
