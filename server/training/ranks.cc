#include "server/training/ranks.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/base/token.h"
#include "server/training/rank_sockets.h"

namespace densityd::training {
namespace {

// What a rank says first: kHello, token, rank, number of ranks, the port that it listens at, agreement; one a line.
constexpr char kHello[] = "densityd rank 2";
// What rank 0 answers: kWelcome, then "address port" of each other rank; or kRefusal, then why.
constexpr char kWelcome[] = "welcome";
constexpr char kRefusal[] = "refused";
constexpr size_t kHelloLines = 6;
// For so long a rank that waits looks out for what comes: to fall asleep and wake takes about as long.
constexpr absl::Duration kLookOut = absl::Microseconds(100);
// A stranger's silence must not keep the others waiting.
constexpr absl::Duration kHelloTimeout = absl::Seconds(5);

absl::StatusOr<uint64_t> NumberFrom(const char* variable, uint64_t low, uint64_t high) {
  const char* text = std::getenv(variable);
  uint64_t number = 0;
  if (text != nullptr && absl::SimpleAtoi(text, &number) && number >= low && number <= high) return number;
  return InvalidArgument(variable, absl::StrCat(text == nullptr ? "is not set" : absl::StrCat("is ", Quote(text)),
                                                "; with WORLD_SIZE it must be a number within ", low, " … ", high));
}

struct Hello {
  uint32_t rank = 0;
  uint32_t world_size = 0;
  uint16_t port = 0;
  std::string agreement;
};

std::string Write(const std::string& token, const Hello& hello) {
  return absl::StrCat(kHello, "\n", token, "\n", hello.rank, "\n", hello.world_size, "\n", hello.port, "\n",
                      hello.agreement);
}

// Nothing where a stranger has said it.
std::optional<Hello> ReadHello(const std::string& message, const std::string& token) {
  const std::vector<std::string> lines = absl::StrSplit(message, absl::MaxSplits('\n', kHelloLines - 1));
  if (lines.size() != kHelloLines || lines[0] != kHello || !EqualInConstantTime(lines[1], token)) return std::nullopt;
  Hello hello;
  uint32_t port = 0;
  if (!absl::SimpleAtoi(lines[2], &hello.rank) || !absl::SimpleAtoi(lines[3], &hello.world_size) ||
      !absl::SimpleAtoi(lines[4], &port) || port > std::numeric_limits<uint16_t>::max()) {
    return std::nullopt;
  }
  hello.port = static_cast<uint16_t>(port);
  hello.agreement = lines[5];
  return hello;
}

absl::Status Refused(const std::string& why) { return FailedPrecondition("rank", "0", why); }

// Whom rank 0 cannot train with.
absl::Status Check(const Hello& hello, const RankJoin& join) {
  if (hello.world_size != join.place.world_size || hello.rank == 0 || hello.rank >= join.place.world_size) {
    return Refused(absl::StrCat("one says that it is rank ", hello.rank, " of ", hello.world_size,
                                "; rank 0 waits for ", join.place.world_size, " ranks"));
  }
  if (hello.agreement != join.agreement) {
    return Refused(absl::StrCat("rank ", hello.rank, " does not train what rank 0 trains: it has ", hello.agreement,
                                ", and rank 0 has ", join.agreement));
  }
  return absl::OkStatus();
}

Patience Briefly(const Patience& patience) {
  return {std::min(patience.deadline, absl::Now() + kHelloTimeout), patience.is_stopped};
}

// The next one who knows the token, with what he says.
absl::StatusOr<std::pair<FileDescriptor, Hello>> NextKnown(int listener, const std::string& token,
                                                           const Patience& patience) {
  while (true) {
    absl::StatusOr<FileDescriptor> fd = AcceptFrom(listener, patience);
    if (!fd.ok()) return fd.status();
    const absl::StatusOr<std::string> message = ReceiveMessage(fd->get(), Briefly(patience));
    std::optional<Hello> hello = message.ok() ? ReadHello(*message, token) : std::nullopt;
    if (hello.has_value()) return std::make_pair(*std::move(fd), *std::move(hello));
    Log(LogLevel::kWarning, "somebody who is no rank of this training was sent away", {});
  }
}

std::string FirstMissing(const std::vector<FileDescriptor>& peers) {
  for (size_t rank = 1; rank < peers.size(); ++rank) {
    if (!peers[rank].valid()) return absl::StrCat("rank ", rank, " of ", peers.size());
  }
  return "";
}

// Rank 0 waits for all, then tells each where the others are.
absl::Status Welcome(const RankJoin& join, const Patience& patience, std::vector<FileDescriptor>& peers) {
  const absl::StatusOr<FileDescriptor> listener = ListenAt(join.place.master_address, join.place.master_port);
  if (!listener.ok()) return listener.status();
  std::vector<std::string> places(peers.size());
  while (!FirstMissing(peers).empty()) {
    absl::StatusOr<std::pair<FileDescriptor, Hello>> known = NextKnown(listener->get(), join.token, patience);
    if (absl::IsDeadlineExceeded(known.status())) {
      return absl::DeadlineExceededError(absl::StrCat(
          FirstMissing(peers), " has not come to ", join.place.master_address, " port ", join.place.master_port,
          " within ", absl::FormatDuration(join.join_timeout), "; start it, or train in one process"));
    }
    if (!known.ok()) return known.status();
    auto& [fd, hello] = *known;
    if (absl::Status status = Check(hello, join); !status.ok()) {
      SendMessage(fd.get(), absl::StrCat(kRefusal, "\n", status.message()), Briefly(patience)).IgnoreError();
      return status;
    }
    const absl::StatusOr<std::string> address = PeerAddress(fd.get());
    if (!address.ok()) return address.status();
    places[hello.rank] = absl::StrCat(*address, " ", hello.port);
    // One that came before it under the same number has died since.
    peers[hello.rank] = std::move(fd);
  }
  std::string welcome = kWelcome;
  for (size_t rank = 1; rank < peers.size(); ++rank) absl::StrAppend(&welcome, "\n", places[rank]);
  for (size_t rank = 1; rank < peers.size(); ++rank) {
    if (absl::Status status = SendMessage(peers[rank].get(), welcome, patience); !status.ok()) {
      return Annotate(status, absl::StrCat("rank ", rank));
    }
  }
  return absl::OkStatus();
}

// Another rank goes to rank 0, then to those before it, and waits for those behind it.
absl::Status Introduce(const RankJoin& join, const Patience& patience, std::vector<FileDescriptor>& peers) {
  const RankPlace& place = join.place;
  absl::StatusOr<FileDescriptor> master = ConnectTo(place.master_address, place.master_port, patience);
  if (absl::IsDeadlineExceeded(master.status())) {
    return absl::DeadlineExceededError(absl::StrCat("rank 0 was not at ", place.master_address, " port ",
                                                    place.master_port, " within ",
                                                    absl::FormatDuration(join.join_timeout)));
  }
  if (!master.ok()) return master.status();
  const absl::StatusOr<std::string> own_address = OwnAddress(master->get());
  if (!own_address.ok()) return own_address.status();
  const absl::StatusOr<FileDescriptor> listener = ListenAt(*own_address, 0);
  if (!listener.ok()) return listener.status();
  const absl::StatusOr<uint16_t> port = OwnPort(listener->get());
  if (!port.ok()) return port.status();
  const std::string hello = Write(join.token, {place.rank, place.world_size, *port, join.agreement});
  if (absl::Status status = SendMessage(master->get(), hello, patience); !status.ok()) return status;
  const absl::StatusOr<std::string> answer = ReceiveMessage(master->get(), patience);
  if (!answer.ok()) return Annotate(answer.status(), "rank 0");
  const std::vector<std::string> lines = absl::StrSplit(*answer, '\n');
  if (lines[0] == kRefusal) return Refused(answer->substr(std::min(answer->size(), sizeof(kRefusal))));
  if (lines[0] != kWelcome || lines.size() != peers.size()) return Refused("rank 0 says what no rank 0 says");
  peers[0] = *std::move(master);
  for (uint32_t rank = 1; rank < place.rank; ++rank) {
    const std::pair<std::string, std::string> where = absl::StrSplit(lines[rank], ' ');
    uint32_t peer_port = 0;
    if (!absl::SimpleAtoi(where.second, &peer_port)) return Refused("rank 0 names a place that is none");
    absl::StatusOr<FileDescriptor> fd = ConnectTo(where.first, static_cast<uint16_t>(peer_port), patience);
    if (!fd.ok()) return Annotate(fd.status(), absl::StrCat("rank ", rank));
    if (absl::Status status = SendMessage(fd->get(), hello, patience); !status.ok()) return status;
    peers[rank] = *std::move(fd);
  }
  for (uint32_t missing = place.rank + 1; missing < place.world_size; ++missing) {
    absl::StatusOr<std::pair<FileDescriptor, Hello>> known = NextKnown(listener->get(), join.token, patience);
    if (!known.ok()) return known.status();
    if (known->second.rank <= place.rank || known->second.rank >= place.world_size) {
      return Refused("a rank came to another one than it should");
    }
    peers[known->second.rank] = std::move(known->first);
  }
  return absl::OkStatus();
}

// What a call has done to a queue.
enum class Moved { kNone, kSome, kGone };

template <typename Queue, typename Call>
Moved Move(Queue& queue, const Call& call) {
  if (queue.empty()) return Moved::kNone;
  msghdr message = queue.Message();
  const ssize_t bytes = RetryInterrupted([&] { return call(message); });
  if (bytes > 0) {
    queue.Drop(static_cast<size_t>(bytes));
    return Moved::kSome;
  }
  return bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? Moved::kNone : Moved::kGone;
}

// Of the numbers of all pieces, one after the other, those in [begin, end).
void ForEachPiece(absl::Span<const absl::Span<float>> pieces, uint64_t begin, uint64_t end,
                  absl::FunctionRef<void(absl::Span<float>)> take) {
  uint64_t first = 0;
  for (const absl::Span<float>& piece : pieces) {
    const uint64_t from = std::clamp(begin, first, first + piece.size());
    const uint64_t to = std::clamp(end, first, first + piece.size());
    if (from < to) take(piece.subspan(from - first, to - from));
    first += piece.size();
  }
}

}  // namespace

absl::StatusOr<RankPlace> RankPlaceFromEnvironment() {
  RankPlace place;
  if (std::getenv("WORLD_SIZE") == nullptr) return place;
  const absl::StatusOr<uint64_t> size = NumberFrom("WORLD_SIZE", 1, kMaxRanks);
  if (!size.ok()) return size.status();
  place.world_size = static_cast<uint32_t>(*size);
  const absl::StatusOr<uint64_t> rank = NumberFrom("RANK", 0, *size - 1);
  if (!rank.ok()) return rank.status();
  place.rank = static_cast<uint32_t>(*rank);
  if (place.world_size == 1) return place;
  const char* address = std::getenv("MASTER_ADDR");
  if (address == nullptr || *address == '\0') {
    return InvalidArgument("MASTER_ADDR", "is not set; with WORLD_SIZE it must be the address of rank 0");
  }
  place.master_address = address;
  const absl::StatusOr<uint64_t> port = NumberFrom("MASTER_PORT", 1, std::numeric_limits<uint16_t>::max());
  if (!port.ok()) return port.status();
  place.master_port = static_cast<uint16_t>(*port);
  return place;
}

absl::StatusOr<std::unique_ptr<Ranks>> Ranks::Join(const RankJoin& join) {
  auto ranks = std::unique_ptr<Ranks>(new Ranks(join.place, join.silence_timeout));
  const Patience patience = {absl::Now() + join.join_timeout, join.is_stopped};
  const absl::Status status =
      join.place.rank == 0 ? Welcome(join, patience, ranks->peers_) : Introduce(join, patience, ranks->peers_);
  if (!status.ok()) return status;
  return ranks;
}

std::string Ranks::NameOf(uint32_t rank) const { return absl::StrCat("rank ", rank, " of ", size()); }

msghdr Ranks::Queue::Message() {
  msghdr message = {};
  message.msg_iov = pieces_.data() + next_;
  message.msg_iovlen = std::min<size_t>(pieces_.size() - next_, IOV_MAX);
  return message;
}

void Ranks::Queue::Drop(size_t bytes) {
  while (bytes > 0) {
    iovec& piece = pieces_[next_];
    const size_t of_piece = std::min(bytes, piece.iov_len);
    piece.iov_base = static_cast<char*>(piece.iov_base) + of_piece;
    piece.iov_len -= of_piece;
    bytes -= of_piece;
    if (piece.iov_len == 0) ++next_;
  }
}

absl::Status Ranks::Exchange(absl::FunctionRef<void(Transfer&)> fill) {
  std::vector<Transfer> transfers;
  for (uint32_t rank = 0; rank < size(); ++rank) {
    if (rank != rank_) fill(transfers.emplace_back(Transfer{rank, {}, {}}));
  }
  std::vector<pollfd> waits;
  absl::Time last_word = absl::Now();
  while (true) {
    bool has_moved = false;
    waits.clear();
    uint32_t waited_for = rank_;
    for (Transfer& transfer : transfers) {
      const int fd = peers_[transfer.rank].get();
      // Sends before it receives: meanwhile the other one sends, too.
      const Moved sent =
          Move(transfer.out, [fd](const msghdr& message) { return sendmsg(fd, &message, MSG_NOSIGNAL); });
      const Moved received = Move(transfer.in, [fd](msghdr& message) { return recvmsg(fd, &message, 0); });
      if (sent == Moved::kGone || received == Moved::kGone) {
        return absl::UnavailableError(absl::StrCat(NameOf(transfer.rank), " has ended; its own log says why"));
      }
      has_moved |= sent == Moved::kSome || received == Moved::kSome;
      if (transfer.out.empty() && transfer.in.empty()) continue;
      const int events = (transfer.out.empty() ? 0 : POLLOUT) | (transfer.in.empty() ? 0 : POLLIN);
      if (waits.empty()) waited_for = transfer.rank;
      waits.push_back({fd, static_cast<short>(events), 0});
    }
    if (waits.empty()) return absl::OkStatus();
    const absl::Time now = absl::Now();
    if (has_moved) last_word = now;
    if (now - last_word >= silence_timeout_) {
      return absl::UnavailableError(
          absl::StrCat(NameOf(waited_for), " has said nothing for ", absl::FormatDuration(silence_timeout_)));
    }
    if (now - last_word >= kLookOut) {
      RetryInterrupted([&] { return poll(waits.data(), waits.size(), /*milliseconds=*/1000); });
    }
  }
}

absl::StatusOr<std::vector<double>> Ranks::Sum(absl::Span<const absl::Span<float>> pieces, double own) {
  std::vector<double> all(size());
  all[rank_] = own;
  uint64_t count = 0;
  for (const absl::Span<float>& piece : pieces) count += piece.size();
  const uint64_t own_count = Begin(count, rank_ + 1) - Begin(count, rank_);
  received_.resize(own_count * size());
  // Each rank sums its part, then hands it to all.
  const auto add_part = [&](uint32_t rank, Queue& queue) {
    ForEachPiece(pieces, Begin(count, rank), Begin(count, rank + 1),
                 [&](absl::Span<float> piece) { queue.Add(piece.data(), piece.size() * sizeof(float)); });
  };
  absl::Status status = Exchange([&](Transfer& transfer) {
    transfer.out.Add(&own, sizeof(own));
    transfer.in.Add(&all[transfer.rank], sizeof(own));
    add_part(transfer.rank, transfer.out);
    transfer.in.Add(received_.data() + own_count * transfer.rank, own_count * sizeof(float));
  });
  if (!status.ok()) return status;
  float* received = received_.data();
  ForEachPiece(pieces, Begin(count, rank_), Begin(count, rank_ + 1), [&](absl::Span<float> mine) {
    // The sum so far stands where rank 0's numbers came in, until it is this rank's turn.
    const float* sum = rank_ == 0 ? mine.data() : received;
    for (uint32_t rank = 1; rank < size(); ++rank) {
      const float* next = rank == rank_ ? mine.data() : received + own_count * rank;
      float* to = rank < rank_ ? received : mine.data();
      for (size_t i = 0; i < mine.size(); ++i) to[i] = sum[i] + next[i];
      sum = to;
    }
    received += mine.size();
  });
  status = Exchange([&](Transfer& transfer) {
    add_part(rank_, transfer.out);
    add_part(transfer.rank, transfer.in);
  });
  if (!status.ok()) return status;
  return all;
}

absl::StatusOr<std::vector<std::string>> Ranks::Gather(std::string_view own) {
  const uint64_t own_size = own.size();
  std::vector<uint64_t> sizes(size());
  absl::Status status = Exchange([&](Transfer& transfer) {
    transfer.out.Add(&own_size, sizeof(own_size));
    transfer.in.Add(&sizes[transfer.rank], sizeof(own_size));
  });
  if (!status.ok()) return status;
  std::vector<std::string> all(size());
  all[rank_] = std::string(own);
  status = Exchange([&](Transfer& transfer) {
    all[transfer.rank].resize(sizes[transfer.rank]);
    transfer.out.Add(own.data(), own.size());
    transfer.in.Add(all[transfer.rank].data(), all[transfer.rank].size());
  });
  if (!status.ok()) return status;
  return all;
}

absl::StatusOr<std::vector<double>> Ranks::GatherNumber(double own) {
  std::vector<double> all(size());
  all[rank_] = own;
  absl::Status status = Exchange([&](Transfer& transfer) {
    transfer.out.Add(&own, sizeof(own));
    transfer.in.Add(&all[transfer.rank], sizeof(own));
  });
  if (!status.ok()) return status;
  return all;
}

}  // namespace densityd::training
