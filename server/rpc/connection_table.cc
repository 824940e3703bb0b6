#include "server/rpc/connection_table.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/base/posix.h"
#include "server/rpc/address_key.h"

namespace densityd::rpc {
namespace {

/// A flood beyond the limit must not buy a look at every connection with each of its own.
constexpr absl::Duration kSweepInterval = absl::Milliseconds(10);

/// 0 where `fd` is no open socket.
uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

}  // namespace

bool ConnectionTable::Socket::IsOpen() const { return cookie != 0 && CookieOf(fd) == cookie; }

std::string ConnectionTable::NameOf(const sockaddr_storage& peer) {
  char text[INET6_ADDRSTRLEN];
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    return absl::StrCat("ipv4:", inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text)), ":", ntohs(v4.sin_port));
  }
  if (peer.ss_family != AF_INET6) return "";
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    const char* name = inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, text, sizeof(text));
    return absl::StrCat("ipv4:", name, ":", ntohs(v6.sin6_port));
  }
  return absl::StrCat("ipv6:%5B", inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text)), "%5D:", ntohs(v6.sin6_port));
}

ConnectionTable::Socket ConnectionTable::Find(uint64_t key) {
  absl::MutexLock lock(&mutex_);
  const auto found = sockets_.find(key);
  return found == sockets_.end() ? Socket() : found->second;
}

bool ConnectionTable::HangUp(uint64_t key) {
  const Socket socket = Find(key);
  if (!socket.IsOpen()) return false;
  // The descriptor may be closed, and stand for something else, by now: what is looked at is what is acted upon.
  const FileDescriptor own(fcntl(socket.fd, F_DUPFD_CLOEXEC, 0));
  if (!own.valid() || CookieOf(own.get()) != socket.cookie) return false;
  sockaddr nobody = {};
  nobody.sa_family = AF_UNSPEC;  // connect(2): dissolves the association
  return connect(own.get(), &nobody, sizeof(nobody)) == 0;
}

ConnectionTable::Verdict ConnectionTable::Admit(int fd, const sockaddr_storage& peer) {
  const std::string key = AddressKey(peer);
  absl::MutexLock lock(&mutex_);
  if (count_ >= limits_.total && absl::Now() - swept_ >= kSweepInterval) Sweep();
  if (count_ >= limits_.total) return Verdict::kTooMany;
  Entries& entries = connections_[key];
  if (!key.empty() && entries.size() >= limits_.per_address) {
    Sweep(entries);
    if (entries.size() >= limits_.per_address) return Verdict::kTooManyOfAddress;
  }
  const Socket socket = {fd, CookieOf(fd)};
  const std::string name = NameOf(peer);
  const uint64_t connection = name.empty() ? 0 : KeyOf(name);
  entries.push_back({socket, connection});
  if (!name.empty()) sockets_[connection] = socket;
  ++count_;
  return Verdict::kAdmitted;
}

size_t ConnectionTable::Open() {
  absl::MutexLock lock(&mutex_);
  Sweep();
  return count_;
}

void ConnectionTable::Sweep() {
  swept_ = absl::Now();
  for (auto& [key, entries] : connections_) Sweep(entries);
  std::erase_if(connections_, [](const auto& address) { return address.second.empty(); });
}

void ConnectionTable::Sweep(Entries& entries) {
  count_ -= std::erase_if(entries, [&](const Entry& entry) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (entry.socket.IsOpen()) return false;
    // The peer may have connected again from the same port.
    const auto known = sockets_.find(entry.key);
    if (known != sockets_.end() && known->second.cookie == entry.socket.cookie) sockets_.erase(known);
    return true;
  });
}

}  // namespace densityd::rpc
