// The seam between a plan and its device: what a test puts a fake in.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/plan.h"

namespace densityd::engine::cuda {

/// One queue of work on a device, with its buffers. Used by one thread at a time.
class DeviceStream {
 public:
  virtual ~DeviceStream() = default;

  /// Host memory that travels to the device and comes back (see staging.h), large enough for every run. The rows beyond
  /// those that were filled in hold anything.
  virtual std::byte* input() = 0;
  virtual const std::byte* output() const = 0;

  /// Computes `op` for `bucket` rows, from input() to output(), and waits for the end. RESOURCE_EXHAUSTED where the
  /// device's memory is short; INTERNAL where it fails.
  virtual absl::Status Run(Op op, size_t bucket) = 0;

  /// Gives back all memory of the device that is kept for later.
  virtual void ReleaseMemory() = 0;
};

/// Makes a stream. Errors as Run. Thread-safe.
using StreamFactory = std::function<absl::StatusOr<std::unique_ptr<DeviceStream>>()>;

}  // namespace densityd::engine::cuda
