// How many streams of a kind may run at once: each of them holds a file open and a message in memory.
#pragma once

#include <atomic>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd::rpc {

/// The place of one stream among those that run, given back when destroyed. Not thread-safe.
class StreamSlot {
 public:
  StreamSlot() = default;
  StreamSlot(const StreamSlot&) = delete;
  StreamSlot& operator=(const StreamSlot&) = delete;
  ~StreamSlot() {
    if (running_ != nullptr) --*running_;
  }

  /// Takes a place. RESOURCE_EXHAUSTED with a time to come back where `most` of the `kind` ("imports") run already, as
  /// `running` counts them, which outlives the slot. Call once.
  absl::Status Take(std::atomic<int>& running, int most, std::string_view kind) {
    constexpr absl::Duration kComeBack = absl::Seconds(5);
    running_ = &running;
    if (++running <= most) return absl::OkStatus();
    return ResourceExhausted(kind, absl::StrCat(most, " ", ToAbsl(kind), " run at the same time; try again later"),
                             kComeBack);
  }

 private:
  std::atomic<int>* running_ = nullptr;
};

}  // namespace densityd::rpc
