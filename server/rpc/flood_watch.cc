#include "server/rpc/flood_watch.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/base/logging.h"
#include "server/rpc/connection_calls.h"

namespace densityd::rpc {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(25);
/// So many calls that their callers gave up within a tick are worth a look.
constexpr uint64_t kManyGivenUp = 32;
constexpr absl::Duration kBetweenLines = absl::Seconds(10);

}  // namespace

FloodWatch::FloodWatch(const std::vector<std::unique_ptr<RowWorker>>& workers, int64_t most_calls, HangUp hang_up)
    : workers_(workers),
      most_calls_(most_calls),
      hang_up_(std::move(hang_up)),
      seen_(workers.size()),
      last_(absl::Now()),
      watch_(kTick, [this] { Tick(); }) {}

void FloodWatch::Tick() {
  const absl::Time now = absl::Now();
  if (IsOdd(now - last_)) Look();
  last_ = now;
}

bool FloodWatch::IsOdd(absl::Duration since_last) {
  bool odd = false;
  for (size_t i = 0; i < workers_.size(); ++i) {
    const RowWorker& worker = *workers_[i];
    const Seen now = {worker.events(), worker.given_up(), worker.CpuTime()};
    const bool computes = worker.turn() % 2 == 1;
    const bool busy = now.cpu - seen_[i].cpu > since_last / 4;
    odd |= now.events == seen_[i].events && busy && !computes;
    odd |= now.given_up - seen_[i].given_up >= kManyGivenUp;
    seen_[i] = now;
  }
  return odd;
}

void FloodWatch::Look() {
  for (const ConnectionCalls& connection : CallsOfConnections()) {
    if (connection.calls <= most_calls_ || !hang_up_(connection.peer)) continue;
    if (const absl::Time now = absl::Now(); now - logged_ >= kBetweenLines) {
      logged_ = now;
      Log(LogLevel::kWarning, "hung up on a connection that gives calls up faster than they can be dealt with",
          {{"peer", connection.peer}, {"calls", connection.calls}, {"allowed", most_calls_}});
    }
  }
}

}  // namespace densityd::rpc
