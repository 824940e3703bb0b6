// The streams of a plan, handed to the threads that run it.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/cuda/device_stream.h"

namespace densityd::engine::cuda {

/// Makes streams as they are needed, at most `most`; after that, threads wait for one. The stream that was used last is
/// handed out first, so that a lone thread always has the same one. Thread-safe.
class StreamPool {
 public:
  /// A stream in use. Goes back with it.
  class Lease {
   public:
    Lease(StreamPool& pool, std::unique_ptr<DeviceStream> stream) : pool_(&pool), stream_(std::move(stream)) {}
    Lease(Lease&& other) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (stream_ != nullptr) pool_->Return(std::move(stream_));
    }
    DeviceStream& operator*() const { return *stream_; }

   private:
    StreamPool* pool_;
    std::unique_ptr<DeviceStream> stream_;
  };

  StreamPool(StreamFactory make, size_t most) : make_(std::move(make)), most_(most) {}

  /// The factory's error where a stream is needed and cannot be made.
  absl::StatusOr<Lease> Take();

 private:
  bool CanTake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !idle_.empty() || made_ < most_; }
  void Return(std::unique_ptr<DeviceStream> stream);

  const StreamFactory make_;
  const size_t most_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<DeviceStream>> idle_ ABSL_GUARDED_BY(mutex_);
  size_t made_ ABSL_GUARDED_BY(mutex_) = 0;  ///< idle or in use
};

}  // namespace densityd::engine::cuda
