#include "server/engine/train/team.h"

#include <chrono>

#include "hwy/cache_control.h"

namespace densityd::engine::train {
namespace {

// To fall asleep and wake costs as much as a short round: for so long a thread looks out for the next one.
constexpr std::chrono::microseconds kLookOut(100);

// Returns when `number` is not `seen` any more.
void WaitWhile(const std::atomic<uint32_t>& number, uint32_t seen) {
  const auto end = std::chrono::steady_clock::now() + kLookOut;
  do {
    for (int look = 0; look < 32; ++look) {
      if (number != seen) return;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  number.wait(seen);
}

}  // namespace

Team::Team(size_t members) : shares_(members) {
  for (size_t member = 1; member < members; ++member) threads_.emplace_back([this, member] { Serve(member); });
}

Team::~Team() {
  is_ending_ = true;
  ++round_;
  round_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Team::Run(size_t count, Task task) {
  task_ = &task;
  for (size_t member = 0; member < shares_.size(); ++member) {
    shares_[member].next = count * member / shares_.size();
    shares_[member].end = count * (member + 1) / shares_.size();
  }
  if (count <= 1 || threads_.empty()) return Work(0);
  is_open_ = true;
  ++round_;
  round_.notify_all();
  Work(0);
  // Who comes from now on finds it closed; who came before is waited for.
  is_open_ = false;
  for (uint32_t busy = busy_; busy > 0; busy = busy_) WaitWhile(busy_, busy);
}

void Team::Work(size_t member) {
  for (size_t i = 0; i < shares_.size(); ++i) {
    Share& share = shares_[(member + i) % shares_.size()];
    for (size_t item = share.next++; item < share.end; item = share.next++) (*task_)(item, member);
  }
}

void Team::Serve(size_t member) {
  for (uint32_t seen = 0;;) {
    WaitWhile(round_, seen);
    seen = round_;
    if (is_ending_) return;
    ++busy_;
    if (is_open_) Work(member);
    --busy_;
    busy_.notify_one();
  }
}

}  // namespace densityd::engine::train
