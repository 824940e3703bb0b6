#include "server/rpc/stand_in.h"

#include <chrono>
#include <cstdint>

#include "absl/time/time.h"

namespace densityd::rpc {
namespace {

/// Between two looks at the workers: 50 wake-ups a second, a few hundredths of a percent of a core.
constexpr absl::Duration kTick = absl::Milliseconds(20);
/// Between two looks at the queue of a worker that computes: this long a control call may wait.
constexpr absl::Duration kLook = absl::Milliseconds(1);

/// What was seen of a worker.
struct Seen {
  uint64_t turn = 0;
  std::chrono::steady_clock::time_point since;
};

}  // namespace

StandIn::StandIn(const std::vector<std::unique_ptr<RowWorker>>& workers)
    : workers_(workers), thread_([this] { Run(); }) {}

StandIn::~StandIn() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void StandIn::Run() {
  std::vector<Seen> seen(workers_.size());
  absl::Duration wait = kTick;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), wait)) return;
    }
    wait = kTick;
    const auto now = std::chrono::steady_clock::now();
    for (size_t i = 0; i < workers_.size(); ++i) {
      const uint64_t turn = workers_[i]->turn();
      if (turn != seen[i].turn) seen[i] = {turn, now};
      const bool computes = turn % 2 == 1;
      if (!computes || absl::FromChrono(now - seen[i].since) < kTick) continue;
      workers_[i]->StandIn(turn);
      wait = kLook;
    }
  }
}

}  // namespace densityd::rpc
