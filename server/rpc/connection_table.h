// Which connections are open, although gRPC owns them and says nothing when it closes one.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace densityd::rpc {

struct ConnectionLimits {
  size_t total = 8192;
  /// From one IPv4 address, or one /64 of IPv6; unix sockets have none.
  size_t per_address = 1024;
};

/// Each entry is a descriptor and the cookie of the socket behind it, which the kernel never gives twice: an entry
/// whose descriptor is closed, or stands for something else meanwhile, is a connection that has ended. Thread-safe.
class ConnectionTable {
 public:
  enum class Verdict { kAdmitted, kTooMany, kTooManyOfAddress };

  struct Socket {
    int fd = -1;
    uint64_t cookie = 0;

    /// Whether `fd` still stands for this socket.
    bool IsOpen() const;
  };

  explicit ConnectionTable(ConnectionLimits limits) : limits_(limits) {}

  /// Enters the open socket `fd` of `peer` unless a limit is reached.
  Verdict Admit(int fd, const sockaddr_storage& peer);

  /// Connections that are open now.
  size_t Open();

  /// What stands for a connection whose peer gRPC calls `peer`.
  static uint64_t KeyOf(const std::string& peer) { return std::hash<std::string>()(peer); }
  /// As gRPC names a peer; empty for one without a port.
  static std::string NameOf(const sockaddr_storage& peer);
  /// The socket of a TCP connection that was entered; one that is not open where there is none.
  Socket Find(uint64_t key);
  /// Ends a TCP connection that was entered, with a reset; what it has sent and was not read is gone. False where it is
  /// not open. gRPC, which owns the socket, learns of it as if the peer had done so.
  bool HangUp(uint64_t key);

 private:
  struct Entry {
    Socket socket;
    uint64_t key = 0;
  };
  using Entries = std::vector<Entry>;

  void Sweep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Sweep(Entries& entries) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ConnectionLimits limits_;
  absl::Mutex mutex_;
  std::map<std::string, Entries> connections_ ABSL_GUARDED_BY(mutex_);     ///< by address
  absl::flat_hash_map<uint64_t, Socket> sockets_ ABSL_GUARDED_BY(mutex_);  ///< by key
  size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time swept_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace densityd::rpc
