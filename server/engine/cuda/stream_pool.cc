#include "server/engine/cuda/stream_pool.h"

namespace densityd::engine::cuda {

absl::StatusOr<StreamPool::Lease> StreamPool::Take() {
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &StreamPool::CanTake));
    if (!idle_.empty()) {
      std::unique_ptr<DeviceStream> stream = std::move(idle_.back());
      idle_.pop_back();
      return Lease(*this, std::move(stream));
    }
    ++made_;
  }
  absl::StatusOr<std::unique_ptr<DeviceStream>> stream = make_();
  if (stream.ok()) return Lease(*this, *std::move(stream));
  absl::MutexLock lock(&mutex_);
  --made_;
  return stream.status();
}

void StreamPool::Return(std::unique_ptr<DeviceStream> stream) {
  absl::MutexLock lock(&mutex_);
  idle_.push_back(std::move(stream));
}

}  // namespace densityd::engine::cuda
