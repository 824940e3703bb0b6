// How the memory that a server may take is shared out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"

namespace densityd::rpc {

/// Of the memory for row requests, the part for what lies beside their bytes: gRPC's calls and buffers, and what the
/// allocator cannot give back at once. Measured in the trial `overload`: up to 16 MiB beside 56.
inline constexpr size_t kPartBeside = 6;

/// What was asked for, bytes.
struct MemoryWishes {
  uint64_t whole = 0;   ///< 0: three quarters of the machine's
  uint64_t models = 0;  ///< 0: what requests leave, at least half
  uint64_t requests = uint64_t{2} << 30;
};

/// Ceilings, bytes. Those of `models` and `requests` may be more than the whole together: each may take what the other
/// has not.
struct MemoryShares {
  size_t whole = 0;
  size_t process = 0;   ///< of which the process itself has, and what lies beside requests
  size_t models = 0;    ///< loaded versions
  size_t requests = 0;  ///< what lies beside them included
};

/// `machine` is what there is; `process` is what a server takes that serves nothing. INVALID_ARGUMENT where the whole
/// would leave next to nothing beside that.
absl::StatusOr<MemoryShares> ShareMemory(const MemoryWishes& wishes, uint64_t machine, uint64_t process);

}  // namespace densityd::rpc
