#include "server/rpc/row_reads.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::rpc {
namespace {

/// What gRPC takes of a stream that is not read, as Server sets it.
constexpr size_t kWindowBytes = 64 << 10;
/// What it asks for when the call is read and the message is larger.
constexpr size_t kAskedBytes = 1 << 20;
/// After so much time a message comes slowly.
constexpr absl::Duration kPatience = absl::Seconds(1);
constexpr absl::Duration kPatienceWithOneself = absl::Seconds(10);
constexpr absl::Duration kComeBack = absl::Seconds(1);

/// How much of what was expected stays expected after a message that was smaller.
constexpr double kForget = 0.9;

}  // namespace

RowReads::RowReads(serving::Scheduler& scheduler, telemetry::Metrics& metrics, const Clock& clock)
    : scheduler_(&scheduler),
      metrics_(&metrics),
      clock_(&clock),
      // Under a low ceiling, too, a few calls find room at the same time.
      window_bytes_(std::min(kWindowBytes, scheduler.max_queued_bytes() / 16)),
      asked_bytes_(std::min(kAskedBytes, scheduler.max_queued_bytes() / 16)),
      most_expected_bytes_(scheduler.max_queued_bytes() / 4) {}

absl::Status RowReads::Begin(Read& read) {
  if (waiting_.empty() && MayStart(read)) {
    StartNow(read);
    return absl::OkStatus();
  }
  absl::Status status = scheduler_->Hold(window_bytes_, *read.held_);
  // Who holds memory without getting on gives way to those who come.
  if (!status.ok()) status = MakeRoom(read, window_bytes_);
  if (!status.ok()) {
    metrics_->OnRejected("bytes");
    return status;
  }
  read.state_ = Read::State::kWaiting;
  waiting_.push_back(&read);
  StartWaiting();
  return absl::OkStatus();
}

bool RowReads::MayStart(Read& read) {
  return new_.size() * asked_bytes_ < scheduler_->max_queued_bytes() / 2 &&
         scheduler_->Hold(asked_bytes_, *read.held_).ok();
}

void RowReads::StartNow(Read& read) {
  read.state_ = Read::State::kNew;
  read.place_ = new_.size();
  new_.push_back(&read);
  read.Start();
}

void RowReads::StartWaiting() {
  while (!waiting_.empty()) {
    Read& next = *waiting_.front();
    // It may be small, whatever there is room for: one at a time is read to see.
    if (!MayStart(next) && !new_.empty()) return;
    waiting_.pop_front();
    StartNow(next);
  }
}

absl::Status RowReads::End(Read& read, size_t bytes) {
  if (bytes > 0) {
    const double large = read.state_ == Read::State::kComing ? static_cast<double>(bytes) : 0;
    expected_bytes_ = std::max(large, kForget * expected_bytes_);
  }
  Remove(read);
  // What never fits is told so by whoever knows all that it takes.
  const bool fits = bytes <= scheduler_->max_queued_bytes();
  absl::Status status = fits ? scheduler_->Hold(bytes, *read.held_) : absl::OkStatus();
  if (!status.ok()) {
    read.held_->Release();
    metrics_->OnRejected("bytes");
  }
  StartWaiting();
  return status;
}

void RowReads::Remove(Read& read) {
  if (read.state_ == Read::State::kNew) {
    Read& last = *new_.back();
    last.place_ = read.place_;
    new_[read.place_] = &last;
    new_.pop_back();
  } else if (read.state_ == Read::State::kComing) {
    coming_.erase(read.coming_);
  }
  read.state_ = Read::State::kNone;
}

void RowReads::Settle() {
  if (new_.empty() && coming_.size() <= kMostSlow) return;
  const absl::Time now = Now();
  // Not those that are started meanwhile.
  for (size_t left = new_.size(); left > 0; --left) {
    Read& read = *new_.front();
    Remove(read);
    absl::Status status = read.MayComeLater();
    if (!status.ok()) {
      Refuse(read, status, nullptr);
      continue;
    }
    const size_t bytes = std::max(asked_bytes_, std::min(static_cast<size_t>(expected_bytes_), most_expected_bytes_));
    status = scheduler_->Hold(bytes, *read.held_);
    if (!status.ok()) status = MakeRoom(read, bytes);
    if (!status.ok()) {
      Refuse(read, status, "bytes");
      continue;
    }
    read.state_ = Read::State::kComing;
    read.since_ = now;
    read.coming_ = coming_.insert(coming_.end(), &read);
  }
  StartWaiting();
  const auto slow = static_cast<size_t>(
      std::count_if(coming_.begin(), coming_.end(), [&](const Read* read) { return read->since_ + kPatience <= now; }));
  if (slow > kMostSlow) RefuseSlow(slow - kMostSlow, nullptr);
}

absl::Time RowReads::next_look() const {
  if (coming_.size() <= kMostSlow) return absl::InfiniteFuture();
  return (*std::next(coming_.begin(), kMostSlow))->since_ + kPatience + blind_;
}

absl::Status RowReads::MakeRoom(Read& read, size_t bytes) {
  absl::Status status;
  do {
    status = scheduler_->Hold(bytes, *read.held_);
  } while (!status.ok() && RefuseSlow(1, &read));
  return status;
}

void RowReads::Refuse(Read& read, const absl::Status& status, const char* reason) {
  read.held_->Release();
  if (reason != nullptr) metrics_->OnRejected(reason);
  read.OnRefused(status);
}

bool RowReads::RefuseSlow(size_t many, const Read* whom) {
  if (coming_.empty()) return false;
  const absl::Time now = Now();
  // Who has begun goes on while he gets on at all: a newcomer of his would not fare better.
  const auto may_go = [&](const Read* read) {
    const bool own = whom != nullptr && read->sender() == whom->sender();
    return read->since_ + (own ? kPatienceWithOneself : kPatience) <= now;
  };
  absl::flat_hash_map<uint64_t, size_t> slow_of;
  for (const Read* read : coming_) {
    if (may_go(read)) ++slow_of[read->sender()];
  }
  bool refused = false;
  for (; many > 0 && !slow_of.empty(); --many) {
    const auto most = std::max_element(slow_of.begin(), slow_of.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    const auto oldest =
        std::find_if(coming_.begin(), coming_.end(), [&](const Read* read) { return read->sender() == most->first; });
    if (--most->second == 0) slow_of.erase(most);
    Read& read = **oldest;
    Remove(read);
    Refuse(read,
           ResourceExhausted("message",
                             absl::StrCat("the request had not come in after ", absl::FormatDuration(now - read.since_),
                                          ", and others need the memory that is kept for it: send less at a time"),
                             kComeBack),
           "slow");
    refused = true;
  }
  return refused;
}

}  // namespace densityd::rpc
