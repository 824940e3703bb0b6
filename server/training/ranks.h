// The processes that train one flow together, and what they tell each other.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/base/posix.h"

namespace densityd::training {

/// Which of the processes this one is.
struct RankPlace {
  uint32_t rank = 0;
  uint32_t world_size = 1;
  std::string master_address;  ///< where rank 0 waits for the others
  uint16_t master_port = 0;
};

inline constexpr uint32_t kMaxRanks = 1024;

/// From RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as other trainers read them; one rank where WORLD_SIZE is not
/// set. INVALID_ARGUMENT naming the variable.
absl::StatusOr<RankPlace> RankPlaceFromEnvironment();

/// How the ranks find each other.
struct RankJoin {
  RankPlace place;
  /// What all ranks must have in common, such as the data's digest. Told in the error where they do not.
  std::string agreement;
  /// A secret of the training: who does not know it is sent away.
  std::string token;
  /// Whether to give up waiting; looked at a few times per second.
  std::function<bool()> is_stopped;
  absl::Duration join_timeout = absl::Minutes(10);
  /// Silence after which the others are held for dead. A rank that ends, or its machine, is noticed at once.
  absl::Duration silence_timeout = absl::Minutes(5);
};

/// Connections between all ranks, over TCP, of numbers as this machine stores them. All ranks make the same calls in
/// the same order. Errors: UNAVAILABLE naming a rank that has ended or is not heard of any more; after one, no call
/// works. Not thread-safe.
class Ranks {
 public:
  /// Returns when all have come. DEADLINE_EXCEEDED naming a rank that has not; FAILED_PRECONDITION where they do not
  /// agree, or the address cannot be used; CANCELLED once `is_stopped`.
  static absl::StatusOr<std::unique_ptr<Ranks>> Join(const RankJoin& join);

  uint32_t rank() const { return rank_; }
  uint32_t size() const { return static_cast<uint32_t>(peers_.size()); }
  /// This rank's part of `count` things that are shared out in order: [Begin(count, rank()), Begin(count, rank() + 1)).
  uint64_t Begin(uint64_t count, uint32_t rank) const { return count * rank / size(); }

  /// Replaces the numbers of `pieces`, which are as many and as long everywhere, by their sums over the ranks, added in
  /// the order of the ranks: the same bits everywhere and every time. Returns GatherNumber(`own`), which comes with
  /// them.
  absl::StatusOr<std::vector<double>> Sum(absl::Span<const absl::Span<float>> pieces, double own);
  /// What every rank has given, in the order of the ranks.
  absl::StatusOr<std::vector<std::string>> Gather(std::string_view own);
  /// The same for one number of each.
  absl::StatusOr<std::vector<double>> GatherNumber(double own);

 private:
  // Pieces of memory whose bytes are sent, or received, one after the other.
  class Queue {
   public:
    void Add(const void* begin, size_t bytes) {
      if (bytes > 0) pieces_.push_back({const_cast<void*>(begin), bytes});
    }
    bool empty() const { return next_ == pieces_.size(); }
    // As many pieces as one call takes.
    msghdr Message();
    void Drop(size_t bytes);

   private:
    std::vector<iovec> pieces_;
    size_t next_ = 0;
  };

  // What goes out to a rank and comes in from it at the same time.
  struct Transfer {
    uint32_t rank = 0;
    Queue out;
    Queue in;
  };

  Ranks(const RankPlace& place, absl::Duration silence_timeout)
      : rank_(place.rank), silence_timeout_(silence_timeout), peers_(place.world_size) {}

  // One to each of the others, of whom `fill` says what goes and comes.
  absl::Status Exchange(absl::FunctionRef<void(Transfer&)> fill);
  std::string NameOf(uint32_t rank) const;

  const uint32_t rank_;
  const absl::Duration silence_timeout_;
  std::vector<FileDescriptor> peers_;  // one of each rank, none of our own
  std::vector<float> received_;
};

}  // namespace densityd::training
