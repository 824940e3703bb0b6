// Listening sockets for an address as --address gives it.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/posix.h"

namespace densityd::rpc {

/// Sockets that listen, without blocking, for one address; all TCP ones on the same port.
struct Listeners {
  std::vector<FileDescriptor> sockets;
  int port = 0;           ///< the one that was chosen where port 0 was asked for; 1 for a unix socket
  std::string unix_path;  ///< to be removed at the end; empty for TCP
};

/// Whether every peer of an address such as "127.0.0.1:50051", "[::1]:0", "localhost:9090" or "unix:PATH" is on this
/// machine.
bool IsLoopback(const std::string& address);

/// Listens on "host:port" (a name may stand for several addresses: all of them), "[ipv6]:port" or "unix:PATH". Nobody
/// else can listen on the same port or path meanwhile (no SO_REUSEPORT); a unix socket that a dead server left behind
/// is replaced. INVALID_ARGUMENT; UNAVAILABLE (the port is taken, or the address is not this machine's), with the
/// system's reason.
absl::StatusOr<Listeners> Listen(const std::string& address);

/// Where a socket on this machine reaches a listening `socket`: its own address, with loopback in place of "any".
absl::StatusOr<std::pair<sockaddr_storage, socklen_t>> ReachableAddress(int socket);

}  // namespace densityd::rpc
