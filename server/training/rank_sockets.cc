#include "server/training/rank_sockets.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/errors.h"

namespace densityd::training {
namespace {

constexpr int kLookMilliseconds = 100;
constexpr absl::Duration kRetry = absl::Milliseconds(200);

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::Status SocketError(const std::string& what, int error) {
  return FailedPrecondition("rank", what, absl::StrCat("cannot ", what, ": ", std::strerror(error)));
}

absl::StatusOr<Addresses> Resolve(const std::string& address, uint16_t port, int flags) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(address.c_str(), absl::StrCat(port).c_str(), &hints, &found);
  if (error != 0) {
    return FailedPrecondition("rank", address, absl::StrCat("no address ", address, ": ", gai_strerror(error)));
  }
  return Addresses(found, freeaddrinfo);
}

FileDescriptor NewSocket(const addrinfo& address) {
  return FileDescriptor(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address.ai_protocol));
}

// Small messages go at once, and a machine that does not answer is noticed within a minute.
void Configure(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  const int idle_seconds = 15;
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof(idle_seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_seconds, sizeof(idle_seconds));
  const int probes = 3;
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  const unsigned unacknowledged_milliseconds = 60'000;
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_milliseconds, sizeof(unacknowledged_milliseconds));
}

using NameOf = int (*)(int, sockaddr*, socklen_t*);

absl::StatusOr<std::string> NumericAddress(int fd, NameOf name_of) {
  sockaddr_storage address;
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST];
  if (name_of(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return SocketError("name a connection", errno);
  if (getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof(host), nullptr, 0, NI_NUMERICHOST) != 0) {
    return SocketError("name a connection", EINVAL);
  }
  return std::string(host);
}

absl::Status Gone() { return absl::UnavailableError("the other end has gone"); }

absl::Status ReceiveBytes(int fd, char* to, size_t size, const Patience& patience) {
  while (size > 0) {
    if (absl::Status status = WaitFor(fd, POLLIN, patience); !status.ok()) return status;
    const ssize_t got = RetryInterrupted([&] { return recv(fd, to, size, 0); });
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) continue;
    if (got <= 0) return Gone();
    to += got;
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Patience::Check() const {
  if (is_stopped != nullptr && is_stopped()) return absl::CancelledError("it was asked to stop");
  return absl::Now() < deadline ? absl::OkStatus() : absl::DeadlineExceededError("it took too long");
}

absl::Status WaitFor(int fd, short events, const Patience& patience) {
  while (true) {
    pollfd wait = {fd, events, 0};
    if (RetryInterrupted([&] { return poll(&wait, 1, kLookMilliseconds); }) > 0) return absl::OkStatus();
    if (absl::Status status = patience.Check(); !status.ok()) return status;
  }
}

absl::StatusOr<FileDescriptor> ListenAt(const std::string& address, uint16_t port) {
  const absl::StatusOr<Addresses> found = Resolve(address, port, AI_PASSIVE);
  if (!found.ok()) return found.status();
  int error = 0;
  for (const addrinfo* one = found->get(); one != nullptr; one = one->ai_next) {
    FileDescriptor fd = NewSocket(*one);
    const int on = 1;
    if (fd.valid() && setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd.get(), one->ai_addr, one->ai_addrlen) == 0 && listen(fd.get(), SOMAXCONN) == 0) {
      return fd;
    }
    error = errno;
  }
  return SocketError(absl::StrCat("listen at ", address, " port ", port), error);
}

absl::StatusOr<FileDescriptor> AcceptFrom(int listener, const Patience& patience) {
  while (true) {
    if (absl::Status status = WaitFor(listener, POLLIN, patience); !status.ok()) return status;
    FileDescriptor fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) continue;  // it has hung up again
    Configure(fd.get());
    return fd;
  }
}

absl::StatusOr<FileDescriptor> ConnectTo(const std::string& address, uint16_t port, const Patience& patience) {
  const absl::StatusOr<Addresses> found = Resolve(address, port, 0);
  if (!found.ok()) return found.status();
  while (true) {
    for (const addrinfo* one = found->get(); one != nullptr; one = one->ai_next) {
      FileDescriptor fd = NewSocket(*one);
      if (!fd.valid()) return SocketError("open a socket", errno);
      if (connect(fd.get(), one->ai_addr, one->ai_addrlen) != 0) {
        if (errno != EINPROGRESS) continue;
        if (absl::Status status = WaitFor(fd.get(), POLLOUT, patience); !status.ok()) return status;
      }
      int error = 0;
      socklen_t size = sizeof(error);
      if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) continue;
      Configure(fd.get());
      return fd;
    }
    if (absl::Status status = patience.Check(); !status.ok()) return status;
    absl::SleepFor(kRetry);
  }
}

absl::StatusOr<std::string> OwnAddress(int fd) { return NumericAddress(fd, getsockname); }
absl::StatusOr<std::string> PeerAddress(int fd) { return NumericAddress(fd, getpeername); }

absl::StatusOr<uint16_t> OwnPort(int fd) {
  sockaddr_storage address;
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return SocketError("name a socket", errno);
  const bool is_ip6 = address.ss_family == AF_INET6;
  return ntohs(is_ip6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                      : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

absl::Status SendMessage(int fd, const std::string& message, const Patience& patience) {
  const auto size = static_cast<uint32_t>(message.size());
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof(size));
  bytes += message;
  for (size_t sent = 0; sent < bytes.size();) {
    if (absl::Status status = WaitFor(fd, POLLOUT, patience); !status.ok()) return status;
    const ssize_t written =
        RetryInterrupted([&] { return send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL); });
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) continue;
    if (written < 0) return Gone();
    sent += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReceiveMessage(int fd, const Patience& patience) {
  uint32_t size = 0;
  if (absl::Status status = ReceiveBytes(fd, reinterpret_cast<char*>(&size), sizeof(size), patience); !status.ok()) {
    return status;
  }
  if (size > kMaxRankMessage) return absl::UnavailableError("the other end is no rank of a training");
  std::string message(size, '\0');
  if (absl::Status status = ReceiveBytes(fd, message.data(), size, patience); !status.ok()) return status;
  return message;
}

}  // namespace densityd::training
