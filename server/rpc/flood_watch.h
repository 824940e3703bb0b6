// Hangs up on connections that open calls and give them up faster than the server can deal with them.
//
// HTTP/2 bounds the calls that a connection has open, but one that was reset is open no more: whoever resets each
// stream at once may open as many as the network carries ("rapid reset"), and gRPC 1.51 makes a call of each, which
// waits until a worker has looked at it. While such a connection has something to say gRPC reads on, so that the worker
// who polls sees nothing else; hence a thread beside them. It asks gRPC for its counts only when something is odd: a
// worker gets no event but is busy, or many calls were given up.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/base/periodic.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {

/// Thread-safe. Lives as long as the workers run.
class FloodWatch {
 public:
  /// Hangs up on a connection, named as in ConnectionCalls; false where that was not possible.
  using HangUp = std::function<bool(const std::string& peer)>;

  /// A connection may have `most_calls` calls that the server has not done with.
  FloodWatch(const std::vector<std::unique_ptr<RowWorker>>& workers, int64_t most_calls, HangUp hang_up);

 private:
  /// What was seen of a worker.
  struct Seen {
    uint64_t events = 0;
    uint64_t given_up = 0;
    absl::Duration cpu;
  };

  void Tick();
  /// Whether the workers do what they do in a flood.
  bool IsOdd(absl::Duration since_last);
  void Look();

  const std::vector<std::unique_ptr<RowWorker>>& workers_;
  const int64_t most_calls_;
  const HangUp hang_up_;
  std::vector<Seen> seen_;
  absl::Time logged_ = absl::InfinitePast();
  absl::Time last_;  ///< tick
  Periodic watch_;
};

}  // namespace densityd::rpc
