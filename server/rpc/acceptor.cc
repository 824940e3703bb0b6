#include "server/rpc/acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/logging.h"

namespace densityd::rpc {
namespace {

/// Connections taken from one socket before the others, and the end, get their turn.
constexpr int kBurst = 64;
/// After an error that does not go away by asking again.
constexpr int kPauseMilliseconds = 10;
constexpr int kIdleMilliseconds = 1000;
constexpr absl::Duration kBetweenComplaints = absl::Seconds(10);

FileDescriptor OpenSpare() { return FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC)); }

int HighestDescriptor() {
  constexpr rlim_t kFewest = 16;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::numeric_limits<int>::max();
  const rlim_t reserve = std::max(kFewest, limit.rlim_cur / 8);
  const rlim_t usable = limit.rlim_cur > reserve ? limit.rlim_cur - reserve : 0;
  return static_cast<int>(std::min<rlim_t>(usable, std::numeric_limits<int>::max()));
}

/// Errors of accept that concern one connection, not the socket (accept(2)).
bool IsOfOneConnection(int error) {
  for (const int known : {EINTR, ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
                          EOPNOTSUPP, ENETUNREACH, EPERM}) {
    if (error == known) return true;
  }
  return false;
}

/// Waits for `events` on `fd` until `deadline`; false where they did not come.
bool Await(int fd, short events, absl::Time deadline) {
  while (true) {
    const int64_t left = std::max<int64_t>(0, absl::ToInt64Milliseconds(deadline - absl::Now()));
    pollfd entry = {fd, events, 0};
    const int ready = poll(&entry, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

absl::Status Unanswered(const char* step, const std::string& reason) {
  return absl::UnavailableError(absl::StrCat("a connection to the server itself: ", step, ": ", reason));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Open(const std::string& address, ConnectionLimits limits) {
  auto listeners = Listen(address);
  if (!listeners.ok()) return listeners.status();
  auto acceptor = std::unique_ptr<Acceptor>(new Acceptor(*std::move(listeners), limits));
  if (!acceptor->wake_.valid() || !acceptor->spare_.valid()) {
    return ErrnoStatus(errno, "listen on", address);
  }
  return acceptor;
}

Acceptor::Acceptor(Listeners listeners, ConnectionLimits limits)
    : listeners_(std::move(listeners)),
      table_(limits),
      highest_descriptor_(HighestDescriptor()),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spare_(OpenSpare()),
      complaints_(kBetweenComplaints) {}

Acceptor::~Acceptor() { Stop(); }

void Acceptor::Start(Hand hand) {
  hand_ = std::move(hand);
  counts_->accepting = true;
  thread_ = std::thread([this] { Run(); });
}

void Acceptor::Stop() {
  if (stopping_.exchange(true)) return;
  eventfd_write(wake_.get(), 1);
  if (thread_.joinable()) thread_.join();
  counts_->accepting = false;
  listeners_.sockets.clear();
  if (!listeners_.unix_path.empty()) unlink(listeners_.unix_path.c_str());
}

void Acceptor::Run() {
  std::vector<pollfd> entries;
  for (const FileDescriptor& socket : listeners_.sockets) entries.push_back({socket.get(), POLLIN, 0});
  entries.push_back({wake_.get(), POLLIN, 0});
  while (!stopping_) {
    if (poll(entries.data(), entries.size(), kIdleMilliseconds) <= 0) continue;
    bool pause = false;
    for (size_t i = 0; i + 1 < entries.size(); ++i) {
      if (entries[i].revents == 0) continue;
      Outcome outcome = Outcome::kGoOn;
      for (int n = 0; n < kBurst && outcome == Outcome::kGoOn; ++n) outcome = AcceptOne(entries[i].fd);
      pause |= outcome == Outcome::kPause;
    }
    if (pause) poll(&entries.back(), 1, kPauseMilliseconds);
  }
}

Acceptor::Outcome Acceptor::AcceptOne(int listener) {
  sockaddr_storage peer = {};
  socklen_t length = sizeof(peer);
  FileDescriptor connection(
      accept4(listener, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!connection.valid()) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Outcome::kNoMore;
    if (errno == EMFILE || errno == ENFILE) return ShedWithSpare(listener);
    if (IsOfOneConnection(errno)) return Outcome::kGoOn;
    const int error = errno;
    if (const uint64_t times = complaints_.Count(absl::Now()); times > 0) {
      Log(LogLevel::kError, "connections are not accepted", {{"error", std::strerror(error)}, {"times", times}});
    }
    return Outcome::kPause;
  }
  if (connection.get() >= highest_descriptor_) {
    Shed(std::move(connection), ShedReason::kDescriptors);
    return Outcome::kGoOn;
  }
  switch (table_.Admit(connection.get(), peer)) {
    case ConnectionTable::Verdict::kTooMany:
      Shed(std::move(connection), ShedReason::kTotal);
      return Outcome::kGoOn;
    case ConnectionTable::Verdict::kTooManyOfAddress:
      Shed(std::move(connection), ShedReason::kAddress);
      return Outcome::kGoOn;
    case ConnectionTable::Verdict::kAdmitted:
      break;
  }
  counts_->accepted.fetch_add(1, std::memory_order_relaxed);
  hand_(listener, std::move(connection));
  return Outcome::kGoOn;
}

Acceptor::Outcome Acceptor::ShedWithSpare(int listener) {
  if (!spare_.valid()) spare_ = OpenSpare();
  // Others took the last descriptor: what waits stays in the kernel's queue until they give one back.
  if (!spare_.valid()) return Outcome::kPause;
  spare_ = FileDescriptor();
  FileDescriptor connection(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const bool shed = connection.valid();
  if (shed) Shed(std::move(connection), ShedReason::kDescriptors);
  spare_ = OpenSpare();
  return shed ? Outcome::kGoOn : Outcome::kPause;
}

void Acceptor::Shed(FileDescriptor connection, ShedReason reason) {
  // A reset: the peer learns at once, and no half-closed socket is left to count.
  const linger at_once = {1, 0};
  setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  counts_->shed[static_cast<size_t>(reason)].fetch_add(1, std::memory_order_relaxed);
}

absl::Status Acceptor::Probe(absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  const auto address = ReachableAddress(listeners_.sockets.front().get());
  if (!address.ok()) return address.status();
  const FileDescriptor connection(socket(address->first.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection.valid()) return Unanswered("socket", std::strerror(errno));
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&address->first), address->second) != 0 &&
      errno != EINPROGRESS) {
    return Unanswered("connect", std::strerror(errno));
  }
  if (!Await(connection.get(), POLLOUT, deadline)) return Unanswered("connect", "no answer");
  // Neither TLS nor HTTP/2: a server of either kind closes at once, or has already sent its settings.
  constexpr char kNonsense[] = "densityd probes itself\r\n\r\n";
  // Where this fails the server has hung up, which is an answer.
  send(connection.get(), kNonsense, sizeof(kNonsense) - 1, MSG_NOSIGNAL);
  if (!Await(connection.get(), POLLIN, deadline)) return Unanswered("read", "no answer");
  return absl::OkStatus();
}

}  // namespace densityd::rpc
