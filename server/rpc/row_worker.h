// One row worker: a thread with a completion queue of its own that runs requests to completion.
//
// It drains what has arrived, computes one tile, and looks again, so that requests that arrive together are computed
// together and nobody waits for a batch to fill. No hand-over between threads on the fast path: gRPC has one thread at
// a time poll the sockets for all queues of the process, and one that leaves its queue wakes another that waits in one.
// So the control calls arrive on the workers' queues too, and no other thread of the server waits in a queue that
// polls.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/alarm.h"
#include "grpcpp/completion_queue.h"
#include "server/rpc/answer_cork.h"
#include "server/rpc/row_reads.h"
#include "server/rpc/worker_call.h"

namespace densityd::rpc {

class RowStream;

class RowWorker {
 public:
  RowWorker(int index, std::unique_ptr<grpc::ServerCompletionQueue> queue, const RowEnvironment& environment,
            ConnectionTable& connections);

  /// Posts a call; before Run, or on the worker's thread.
  void Post(const std::shared_ptr<PostedCall>& call) { call->Post(); }

  /// Works until Stop was called and the last call has gone. On one thread.
  void Run();

  /// Makes the worker look for tiles to compute. Thread-safe; cheap when it was woken already.
  void Wake();

  /// Odd while the worker computes a tile; another number for every tile. Thread-safe.
  uint64_t turn() const { return turn_.load(std::memory_order_relaxed); }

  /// Events that were handled, and calls that ended before they were answered. Thread-safe.
  uint64_t events() const { return events_.load(std::memory_order_relaxed); }
  uint64_t given_up() const { return given_up_.load(std::memory_order_relaxed); }
  /// What its thread has used of the processor. Thread-safe while the thread is there.
  absl::Duration CpuTime() const;

  /// Handles what has come for control calls, while the worker is in its turn `turn`, and puts the rest aside for it.
  /// Thread-safe.
  void StandIn(uint64_t turn);

  /// Ends the open streams early, and those that still come, see RowStream. Thread-safe.
  void EndStreams();

  /// Makes Run return once no call is left. After the gRPC server was shut down. Thread-safe.
  void Stop();

  int index() const { return index_; }
  const RowEnvironment& environment() const { return *environment_; }
  grpc::ServerCompletionQueue& queue() { return *queue_; }
  /// On the worker's thread.
  RowReads& reads() { return reads_; }

  /// What arrives now may have waited in a socket since then, when the worker began the tile after which it looks; in
  /// the future where it came as it was looked for. On the worker's thread.
  absl::Time unseen_since() const { return unseen_since_; }

  /// A call was handed to gRPC.
  void OnCallPosted() { calls_.fetch_add(1, std::memory_order_relaxed); }
  /// A call arrived on this worker; `next` takes its place.
  void OnCallArrived(const std::shared_ptr<PostedCall>& next);
  /// A stream has begun. On the worker's thread.
  void AddStream(const std::shared_ptr<RowStream>& stream);
  /// A call's caller is gone before it was answered.
  void OnCallGivenUp() { given_up_.fetch_add(1, std::memory_order_relaxed); }
  /// gRPC has no more use for a call that was posted. Thread-safe.
  void OnCallGone();

 private:
  /// What became of looking at the queue.
  enum class Look { kEvent, kEmpty, kClosed };
  /// What a queue hands out.
  struct Arrived {
    void* tag = nullptr;
    bool ok = false;
  };

  Look LookAt(gpr_timespec deadline);
  /// Waits for an event; false when the queue is closed and empty.
  bool Await();
  /// As long: takes what has come until it is known which of the calls that arrived have their message; false when the
  /// queue is closed and empty.
  bool TakeMessages();
  /// Spins for a short while, if that was worth it lately.
  Look Spin();
  /// Handles everything that has arrived, or what can be in some milliseconds; false when the queue is closed and
  /// empty.
  bool Drain();
  /// The one or the other.
  bool Take(bool all);
  void Handle(const Arrived& arrived);
  void OnWoken();
  /// Runs at most one tile; false when there was none.
  bool Compute();
  /// Handles what was put aside meanwhile.
  void TakeBack();
  void SetAlarm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(wake_mutex_);
  /// Closes the queue when there is nothing left to wait for.
  void CloseIfDone();

  const int index_;
  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  const RowEnvironment* environment_;

  /// Calls that were posted and are not gone. Those that have not arrived count too: one may lie in the queue when the
  /// server has ended (it waits for connections, not for calls whose peer is gone), and may not be taken from a queue
  /// that was closed.
  std::atomic<int> calls_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ending_streams_{false};
  std::atomic<bool> wake_pending_{false};
  absl::Mutex wake_mutex_;
  grpc::Alarm alarm_ ABSL_GUARDED_BY(wake_mutex_);
  bool closed_ ABSL_GUARDED_BY(wake_mutex_) = false;

  std::atomic<uint64_t> events_{0};
  std::atomic<uint64_t> given_up_{0};
  std::atomic<clockid_t> cpu_clock_{CLOCK_PROCESS_CPUTIME_ID};
  std::atomic<bool> has_cpu_clock_{false};

  // One thread at a time takes from the queue: the worker, or, holding the mutex, who stands in for it. Who stands in
  // raises the flag before it looks at the turn, and the worker looks at the flag after its turn: one of them sees the
  // other.
  std::atomic<uint64_t> turn_{0};
  std::atomic<bool> stood_in_{false};
  absl::Mutex stand_in_mutex_;
  std::vector<Arrived> aside_ ABSL_GUARDED_BY(stand_in_mutex_);

  AnswerCork cork_;
  RowReads reads_;
  absl::Time unseen_since_ = absl::InfiniteFuture();
  std::vector<std::weak_ptr<RowStream>> streams_;  ///< those that are over among them
  size_t streams_to_sweep_ = 16;                   ///< at this many the latter are removed
  int events_since_tile_ = 0;
  uint32_t futile_spins_ = 0;
};

}  // namespace densityd::rpc
