// Sockets of ranks while they find each other: small messages, with a deadline.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/posix.h"

namespace densityd::training {

/// When to stop waiting.
struct Patience {
  absl::Time deadline = absl::InfiniteFuture();
  std::function<bool()> is_stopped;  ///< may be null

  /// OK; DEADLINE_EXCEEDED; CANCELLED.
  absl::Status Check() const;
};

/// Waits until `fd` is ready for `events` of poll(2). Errors of Patience.
absl::Status WaitFor(int fd, short events, const Patience& patience);

/// A socket that listens at `address` (a name or number of this machine) and `port`; 0: any free one.
/// FAILED_PRECONDITION with the system's reason.
absl::StatusOr<FileDescriptor> ListenAt(const std::string& address, uint16_t port);
/// The next connection, nonblocking. Errors of Patience.
absl::StatusOr<FileDescriptor> AcceptFrom(int listener, const Patience& patience);
/// Connects, trying again while nobody listens there. FAILED_PRECONDITION where there is no such address; errors of
/// Patience.
absl::StatusOr<FileDescriptor> ConnectTo(const std::string& address, uint16_t port, const Patience& patience);

/// The numeric addresses of the two ends.
absl::StatusOr<std::string> OwnAddress(int fd);
absl::StatusOr<std::string> PeerAddress(int fd);
absl::StatusOr<uint16_t> OwnPort(int fd);

/// One message of at most kMaxRankMessage bytes. UNAVAILABLE where the other end has gone; errors of Patience.
absl::Status SendMessage(int fd, const std::string& message, const Patience& patience);
absl::StatusOr<std::string> ReceiveMessage(int fd, const Patience& patience);
inline constexpr uint32_t kMaxRankMessage = 1 << 20;

}  // namespace densityd::training
