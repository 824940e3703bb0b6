#include "server/rpc/row_worker.h"

#include <algorithm>
#include <utility>

#include "grpc/support/time.h"
#include "server/rpc/row_stream.h"

namespace densityd::rpc {
namespace {

/// A spin costs less than going to sleep and being woken (measured: 1.2 instead of 1.8 times the latency of an empty
/// call), but only where the next request comes soon.
constexpr int64_t kSpinNanoseconds = 50'000;
/// After this many spins for nothing, only every kRetrySpin-th wait begins with one.
constexpr uint32_t kFutileSpins = 8;
constexpr uint32_t kRetrySpin = 64;
/// Where events come faster than they can be dealt with, rows are computed in between after so long.
constexpr absl::Duration kLongestTake = absl::Milliseconds(10);

int64_t MonotonicNanoseconds() {
  const gpr_timespec now = gpr_now(GPR_CLOCK_MONOTONIC);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

}  // namespace

RowWorker::RowWorker(int index, std::unique_ptr<grpc::ServerCompletionQueue> queue, const RowEnvironment& environment,
                     ConnectionTable& connections)
    : index_(index),
      queue_(std::move(queue)),
      environment_(&environment),
      cork_(connections),
      reads_(*environment.scheduler, *environment.metrics, *environment.clock) {}

void RowWorker::Run() {
  clockid_t clock = {};
  if (pthread_getcpuclockid(pthread_self(), &clock) == 0) {
    cpu_clock_.store(clock, std::memory_order_relaxed);
    has_cpu_clock_.store(true, std::memory_order_release);
  }
  while (Await()) {
    if (!TakeMessages()) return;
    // A single request is computed at once; more may have come behind it only if there was more than one lately.
    if (events_since_tile_ > 1 && !Drain()) return;
    bool computed = false;
    while (Compute()) {
      computed = true;
      events_since_tile_ = 0;
      if (!Drain()) return;
    }
    if (!computed) events_since_tile_ = 0;
    unseen_since_ = absl::InfiniteFuture();
    CloseIfDone();
  }
}

absl::Duration RowWorker::CpuTime() const {
  timespec used = {};
  const bool known = has_cpu_clock_.load(std::memory_order_acquire) &&
                     clock_gettime(cpu_clock_.load(std::memory_order_relaxed), &used) == 0;
  return known ? absl::DurationFromTimespec(used) : absl::ZeroDuration();
}

RowWorker::Look RowWorker::LookAt(gpr_timespec deadline) {
  Arrived arrived;
  switch (queue_->AsyncNext(&arrived.tag, &arrived.ok, deadline)) {
    case grpc::CompletionQueue::SHUTDOWN:
      return Look::kClosed;
    case grpc::CompletionQueue::TIMEOUT:
      return Look::kEmpty;
    case grpc::CompletionQueue::GOT_EVENT:
      break;
  }
  Handle(arrived);
  return Look::kEvent;
}

void RowWorker::Handle(const Arrived& arrived) {
  events_.store(events() + 1, std::memory_order_relaxed);
  if (arrived.tag == this) return OnWoken();
  auto& tag = *static_cast<PostedCall::Tag*>(arrived.tag);
  if (tag.event == PostedCall::Event::kArrived && arrived.ok) ++events_since_tile_;
  PostedCall::Handle(tag, arrived.ok);
}

bool RowWorker::Compute() {
  turn_.fetch_add(1, std::memory_order_relaxed);
  unseen_since_ = environment_->clock->Now();
  bool computed = false;
  {
    const AnswerCork::Turn corked(cork_);
    computed = environment_->scheduler->RunOne(index_);
  }
  if (computed && reads_.has_coming()) reads_.OnBlind(environment_->clock->Now() - unseen_since_);
  turn_.fetch_add(1, std::memory_order_seq_cst);
  if (stood_in_.load(std::memory_order_seq_cst)) TakeBack();
  return computed;
}

void RowWorker::StandIn(uint64_t turn) {
  absl::MutexLock lock(&stand_in_mutex_);
  stood_in_.store(true, std::memory_order_seq_cst);
  // As in Drain. The queue closes only when its worker says so, which is not in its turn.
  for (int empty = 0; empty < 2 && turn_.load(std::memory_order_seq_cst) == turn;) {
    Arrived arrived;
    if (queue_->AsyncNext(&arrived.tag, &arrived.ok, gpr_inf_past(GPR_CLOCK_REALTIME)) !=
        grpc::CompletionQueue::GOT_EVENT) {
      ++empty;
      continue;
    }
    empty = 0;
    auto* tag = arrived.tag == this ? nullptr : static_cast<PostedCall::Tag*>(arrived.tag);
    if (tag != nullptr && tag->kind == PostedCall::Kind::kControl) {
      PostedCall::Handle(*tag, arrived.ok);
    } else {
      aside_.push_back(arrived);
    }
  }
}

void RowWorker::TakeBack() {
  std::vector<Arrived> aside;
  {
    absl::MutexLock lock(&stand_in_mutex_);
    stood_in_.store(false, std::memory_order_relaxed);
    aside.swap(aside_);
  }
  for (const Arrived& arrived : aside) Handle(arrived);
}

bool RowWorker::Await() {
  // What a tile left behind.
  if (reads_.has_new()) return true;
  Look look = Spin();
  if (look != Look::kEmpty) return look != Look::kClosed;
  const absl::Time next_look = reads_.next_look();
  if (next_look == absl::InfiniteFuture()) return LookAt(gpr_inf_future(GPR_CLOCK_REALTIME)) != Look::kClosed;
  look = LookAt(grpc::TimePoint(absl::ToChronoTime(next_look)).raw_time());
  if (look == Look::kEmpty) reads_.Settle();
  return look != Look::kClosed;
}

bool RowWorker::TakeMessages() { return !reads_.has_new() || Take(/*all=*/false); }

bool RowWorker::Drain() {
  if (!Take(/*all=*/true)) return false;
  unseen_since_ = absl::InfiniteFuture();
  return true;
}

bool RowWorker::Take(bool all) {
  // One time-out does not mean that the sockets are empty: the queue polls them in turn. And a message that is there is
  // handed out a moment later where another thread is at its connection.
  constexpr int kLooks = 2;
  constexpr int kLooksForMessages = 8;
  const absl::Duration patience = environment_->message_patience;
  const int64_t begin = MonotonicNanoseconds();
  const int64_t end = begin + absl::ToInt64Nanoseconds(patience);
  const int64_t latest = begin + absl::ToInt64Nanoseconds(std::max(kLongestTake, patience));
  for (int empty = 0; all || reads_.has_new();) {
    switch (LookAt(gpr_inf_past(GPR_CLOCK_REALTIME))) {
      case Look::kClosed:
        return false;
      case Look::kEmpty:
        ++empty;
        break;
      case Look::kEvent:
        empty = 0;
        break;
    }
    const int64_t now = MonotonicNanoseconds();
    if (now >= latest) break;
    if (empty < (reads_.has_new() ? kLooksForMessages : kLooks)) continue;
    if (!reads_.has_new() || now >= end) break;
  }
  reads_.Settle();
  return true;
}

RowWorker::Look RowWorker::Spin() {
  if (futile_spins_ >= kFutileSpins && ++futile_spins_ % kRetrySpin != 0) return Look::kEmpty;
  const int64_t end = MonotonicNanoseconds() + kSpinNanoseconds;
  do {
    const Look look = LookAt(gpr_inf_past(GPR_CLOCK_REALTIME));
    if (look != Look::kEmpty) {
      futile_spins_ = 0;
      return look;
    }
  } while (MonotonicNanoseconds() < end);
  ++futile_spins_;
  return Look::kEmpty;
}

void RowWorker::Wake() {
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  absl::MutexLock lock(&wake_mutex_);
  SetAlarm();
}

void RowWorker::SetAlarm() {
  if (closed_) return;
  alarm_.Set(queue_.get(), gpr_inf_past(GPR_CLOCK_MONOTONIC), this);
}

void RowWorker::OnWoken() {
  // Reads what whoever asked to be heard wrote before, or leaves it to a Wake to come.
  wake_pending_.exchange(false, std::memory_order_acq_rel);
  if (!ending_streams_.load(std::memory_order_relaxed)) return;
  for (const std::weak_ptr<RowStream>& entry : std::exchange(streams_, {})) {
    if (const std::shared_ptr<RowStream> stream = entry.lock()) stream->EndEarly();
  }
}

void RowWorker::AddStream(const std::shared_ptr<RowStream>& stream) {
  if (ending_streams_.load(std::memory_order_relaxed)) return stream->EndEarly();
  if (streams_.size() >= streams_to_sweep_) {
    std::erase_if(streams_, [](const std::weak_ptr<RowStream>& entry) { return entry.expired(); });
    streams_to_sweep_ = std::max<size_t>(16, 2 * streams_.size());
  }
  streams_.push_back(stream);
}

void RowWorker::EndStreams() {
  ending_streams_.store(true, std::memory_order_relaxed);
  Wake();
}

void RowWorker::Stop() {
  stopping_.store(true, std::memory_order_release);
  Wake();
}

void RowWorker::OnCallArrived(const std::shared_ptr<PostedCall>& next) {
  if (!stopping_.load(std::memory_order_acquire)) Post(next);
}

void RowWorker::OnCallGone() {
  int calls = calls_.load(std::memory_order_relaxed);
  while (calls > 1) {
    if (calls_.compare_exchange_weak(calls, calls - 1, std::memory_order_acq_rel)) return;
  }
  // The last call may go on another thread, while this worker's sleeps. It is counted under the mutex, so that the
  // worker, which then closes its queue and may be destroyed, is still there when this one wakes it.
  absl::MutexLock lock(&wake_mutex_);
  calls_.fetch_sub(1, std::memory_order_acq_rel);
  if (!wake_pending_.exchange(true, std::memory_order_acq_rel)) SetAlarm();
}

void RowWorker::CloseIfDone() {
  if (!stopping_.load(std::memory_order_acquire) || calls_.load(std::memory_order_acquire) > 0) return;
  absl::MutexLock lock(&wake_mutex_);
  if (std::exchange(closed_, true)) return;
  queue_->Shutdown();
}

}  // namespace densityd::rpc
