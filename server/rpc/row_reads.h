// What requests hold while they come in.
//
//   arrived -> [waiting] -> read, comes at once ─► whole
//                             └─► coming ────────► whole
//                                   └─► slow ────► whole, or refused for those who are not
//
// gRPC hands a call over at its headers; of its message it takes no more than a stream's window of 64 KiB until the
// call is read. From then on it asks for a megabyte at a time, until the message is whole, without a word in between.
// So the memory ceiling of requests has to count messages that have not come yet: a window for each call that waits, a
// megabyte for each that is read, what messages have been like lately where one does not come at once, and what it is
// when it is there. Calls wait where that does not fit while others are read, for what these turn out to be is mostly
// less; and who finds no room for a window is refused unread.
//
// Who sends slowly would hold that memory for as long as he likes. Some are borne while nobody misses what they hold;
// beyond that the sender with the most of them loses those that have taken the longest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/base/memory_budget.h"
#include "server/serving/scheduler.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

/// Of one worker, and on its thread.
class RowReads {
 public:
  /// A call's message on its way. Lives until it was taken out, by End or before OnRefused.
  class Read {
   public:
    virtual ~Read() = default;

   protected:
    /// `held` is what is kept for the message.
    explicit Read(Reservation& held) : held_(&held) {}
    /// Asks gRPC for the message.
    virtual void Start() = 0;
    /// The message does not come at once: whether its sender may go on.
    virtual absl::Status MayComeLater() = 0;
    /// Who sends: those of one client have one number.
    virtual uint64_t sender() const = 0;
    /// The call shall end with `status`, and the message not be waited for. The read was taken out already.
    virtual void OnRefused(const absl::Status& status) = 0;

   private:
    friend class RowReads;
    enum class State { kNone, kWaiting, kNew, kComing };
    Reservation* held_;
    State state_ = State::kNone;
    size_t place_ = 0;                   ///< of kNew
    std::list<Read*>::iterator coming_;  ///< of kComing
    absl::Time since_;                   ///< when it was kComing, less all blind time before
  };

  RowReads(serving::Scheduler& scheduler, telemetry::Metrics& metrics, const Clock& clock);

  /// A call has arrived, and will be read now: keeps room for what may have come with it. RESOURCE_EXHAUSTED where
  /// there is none.
  absl::Status Begin(Read& read);
  /// The message is there, and has `bytes` bytes, or will never be (0). RESOURCE_EXHAUSTED where there is no room for
  /// so many after all: the caller frees it.
  absl::Status End(Read& read, size_t bytes);

  /// Whether there are reads of which it is not known yet whether they come at once.
  bool has_new() const { return !new_.empty(); }
  /// All that has come was looked at: what is not read yet does not come at once.
  void Settle();
  /// When to Settle even if nothing comes.
  absl::Time next_look() const;
  /// Nobody looked at the sockets for so long: that makes no sender slow.
  void OnBlind(absl::Duration duration) { blind_ += duration; }
  bool has_coming() const { return !coming_.empty(); }

 private:
  static constexpr size_t kMostSlow = 32;

  void StartNow(Read& read);
  /// Starts those that wait as far as there is room.
  void StartWaiting();
  /// Time without that in which nobody looked at the sockets.
  absl::Time Now() const { return clock_->Now() - blind_; }
  void Remove(Read& read);
  /// Keeps `bytes` bytes for the read, if need be of those of others' slow ones.
  absl::Status MakeRoom(Read& read, size_t bytes);
  /// Keeps what gRPC asks for. New ones take no more than half of the memory.
  bool MayStart(Read& read);
  void Refuse(Read& read, const absl::Status& status, const char* reason);
  /// Refuses so many of the slow reads, or all that there are; returns whether there was one. For `whom`, if anybody,
  /// his own only where they hardly get on.
  bool RefuseSlow(size_t many, const Read* whom);

  serving::Scheduler* const scheduler_;
  telemetry::Metrics* const metrics_;
  const Clock* const clock_;
  const size_t window_bytes_;
  const size_t asked_bytes_;
  const size_t most_expected_bytes_;
  std::deque<Read*> waiting_;  ///< empty where new_ is
  std::vector<Read*> new_;
  std::list<Read*> coming_;  ///< in the order in which they began to
  absl::Duration blind_;
  double expected_bytes_ = 0;  ///< of a message that does not come at once: as the largest lately
};

}  // namespace densityd::rpc
