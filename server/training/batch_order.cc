#include "server/training/batch_order.h"

#include "server/training/permutation.h"

namespace densityd::training {

BatchOrder::BatchOrder(uint64_t seed, int64_t rows, int64_t batch_size)
    : seed_(seed), rows_(rows), batch_size_(batch_size), batches_per_epoch_(static_cast<uint64_t>(rows / batch_size)) {}

torch::Tensor BatchOrder::Batch(uint64_t step) {
  const uint64_t epoch = step / batches_per_epoch_;
  if (order_.empty() || epoch != epoch_) {
    epoch_ = epoch;
    order_ = SeededPermutation(seed_, kFirstEpochStream + epoch, static_cast<size_t>(rows_));
  }
  int64_t* begin = order_.data() + static_cast<int64_t>(step % batches_per_epoch_) * batch_size_;
  return torch::from_blob(begin, {batch_size_}, torch::kInt64);
}

}  // namespace densityd::training
