// A few threads for control RPCs: they may wait for disks and locks, which the threads of gRPC must not.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace densityd::rpc {

/// Runs work: of each client in order of arrival, and the clients take turns. Thread-safe.
class Executor {
 public:
  enum class Kind {
    kShort,  ///< computes, reads or writes
    kLong,   ///< may wait for others: a lock, a version that is being loaded, room that calls give back. One thread
             ///< (of two or more) never takes such work, so that what is short need not wait with it.
  };
  /// Whose work it is, and what to do with it where there is too much.
  struct Label {
    uint64_t client = 0;
    Kind kind = Kind::kShort;
    /// The next step of a call that was let in before: never refused. Each such call has one step at most that waits.
    bool under_way = false;
  };

  Executor(int threads, size_t max_waiting);
  /// Finishes everything that was accepted.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  /// Accepts `work`, or refuses it: RESOURCE_EXHAUSTED where too much waits already. Of a client no more may wait than
  /// there is room left, so that whoever comes next finds some: one alone gets half of it, the next half of the rest.
  absl::Status Run(std::function<void()> work, Label label);

 private:
  struct Work {
    uint64_t client = 0;
    std::function<void()> run;
  };
  /// When it is whose turn: in each round, one work of each client that has any, in order of arrival.
  struct Turn {
    uint64_t round = 0;
    uint64_t number = 0;                            ///< in order of arrival
    auto operator<=>(const Turn&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy takes it for a 0
  };
  /// What waits of one kind.
  using Line = absl::btree_map<Turn, Work>;
  /// What waits of a client.
  struct Waiting {
    size_t works = 0;
    uint64_t last_round = 0;
  };

  void Loop();
  bool MayTakeLong() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !long_line_.empty() && long_running_ < max_long_running_;
  }
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !short_line_.empty() || MayTakeLong() || (stopping_ && waiting() == 0);
  }
  size_t waiting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return short_line_.size() + long_line_.size(); }
  /// Takes the first of `line`. Precondition: there is one.
  Work Take(Line& line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_waiting_;
  const int max_long_running_;
  absl::Mutex mutex_;
  Line short_line_ ABSL_GUARDED_BY(mutex_);
  Line long_line_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, Waiting> waiting_of_ ABSL_GUARDED_BY(mutex_);  ///< clients with something that waits
  uint64_t round_ ABSL_GUARDED_BY(mutex_) = 0;                                 ///< the last that has begun
  uint64_t arrived_ ABSL_GUARDED_BY(mutex_) = 0;
  int long_running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace densityd::rpc
