#include "server/rpc/listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

constexpr char kUnix[] = "unix:";
constexpr int kBacklog = 1024;  // cut by the kernel to net.core.somaxconn

struct HostPort {
  std::string host;  ///< without brackets; empty: every address
  std::string port;
};

std::optional<HostPort> SplitHostPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon + 1 == address.size()) return std::nullopt;
  std::string host = address.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  // An IPv6 address without brackets does not say where the port begins.
  if (!bracketed && absl::StrContains(host, ":")) return std::nullopt;
  std::string port = address.substr(colon + 1);
  int number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number < 0 || number > 65535) return std::nullopt;
  return HostPort{std::move(host), std::move(port)};
}

absl::Status CannotListen(const std::string& address, int error) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", std::strerror(error),
                                             error == EADDRINUSE ? "; choose another with --address" : ""));
}

void SetOption(int socket, int level, int option, int value) {
  // None of these can fail on a socket of the right family, and the server works without.
  setsockopt(socket, level, option, &value, sizeof(value));
}

/// 0 or errno.
int BindAndListen(int socket, const sockaddr* address, socklen_t length) {
  if (bind(socket, address, length) != 0 || listen(socket, kBacklog) != 0) return errno;
  return 0;
}

int PortOf(int socket) {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

void SetPort(sockaddr* address, int port) {
  const in_port_t number = htons(static_cast<in_port_t>(port));
  if (address->sa_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = number;
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = number;
  }
}

/// Whether somebody still answers on a unix socket.
bool IsAlive(const sockaddr_un& address) {
  const FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.valid()) return true;
  // A full backlog (EAGAIN) is a living server, too.
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
         errno != ECONNREFUSED;
}

absl::StatusOr<Listeners> ListenOnUnix(const std::string& address) {
  const std::string path(absl::StripPrefix(address, kUnix));
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(name.sun_path) || path.find('\0') != std::string::npos) {
    return InvalidArgument("--address", absl::StrCat(Quote(address), ": the path of a unix socket has 1 to ",
                                                     sizeof(name.sun_path) - 1, " bytes"));
  }
  path.copy(name.sun_path, path.size());
  struct stat existing = {};
  if (lstat(path.c_str(), &existing) == 0 && S_ISSOCK(existing.st_mode) && !IsAlive(name)) unlink(path.c_str());
  FileDescriptor socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_fd.valid()) return CannotListen(address, errno);
  const int error = BindAndListen(socket_fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  if (error != 0) return CannotListen(address, error);
  Listeners listeners;
  listeners.sockets.push_back(std::move(socket_fd));
  listeners.port = 1;
  listeners.unix_path = path;
  return listeners;
}

}  // namespace

bool IsLoopback(const std::string& address) {
  if (absl::StartsWith(address, kUnix)) return true;
  const std::optional<HostPort> parts = SplitHostPort(address);
  if (!parts.has_value()) return false;
  if (parts->host == "localhost") return true;
  in_addr v4 = {};
  if (inet_pton(AF_INET, parts->host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6 = {};
  return inet_pton(AF_INET6, parts->host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::StatusOr<Listeners> Listen(const std::string& address) {
  if (absl::StartsWith(address, kUnix)) return ListenOnUnix(address);
  const std::optional<HostPort> parts = SplitHostPort(address);
  if (!parts.has_value()) {
    return InvalidArgument("--address", absl::StrCat(Quote(address), " is no host:port, [ipv6]:port or unix:PATH"));
  }
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* resolved = nullptr;
  const char* host = parts->host.empty() ? nullptr : parts->host.c_str();
  if (const int error = getaddrinfo(host, parts->port.c_str(), &hints, &resolved); error != 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(resolved, &freeaddrinfo);
  const bool alone = resolved->ai_next == nullptr;
  Listeners listeners;
  int last_error = EADDRNOTAVAIL;
  for (addrinfo* entry = resolved; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    FileDescriptor socket_fd(socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_fd.valid()) {
      last_error = errno;
      continue;
    }
    SetOption(socket_fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    // Accepted sockets inherit it.
    SetOption(socket_fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    // "[::]" takes IPv4 too; where a name stands for both, each has a socket of its own.
    if (entry->ai_family == AF_INET6) SetOption(socket_fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, alone ? 0 : 1);
    if (listeners.port != 0) SetPort(entry->ai_addr, listeners.port);
    const int error = BindAndListen(socket_fd.get(), entry->ai_addr, entry->ai_addrlen);
    if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) {
      // Such as ::1 for "localhost" on a machine without IPv6.
      last_error = error;
      continue;
    }
    if (error != 0) return CannotListen(address, error);
    listeners.port = PortOf(socket_fd.get());
    listeners.sockets.push_back(std::move(socket_fd));
  }
  if (listeners.sockets.empty()) return CannotListen(address, last_error);
  return listeners;
}

absl::StatusOr<std::pair<sockaddr_storage, socklen_t>> ReachableAddress(int socket) {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return absl::UnavailableError(absl::StrCat("getsockname: ", std::strerror(errno)));
  }
  if (address.ss_family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    if (v4.sin_addr.s_addr == htonl(INADDR_ANY)) v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (address.ss_family == AF_INET6) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    if (IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr)) v6.sin6_addr = in6addr_loopback;
  }
  return std::make_pair(address, length);
}

}  // namespace densityd::rpc
