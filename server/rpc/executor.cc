#include "server/rpc/executor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::rpc {

Executor::Executor(int threads, size_t max_waiting)
    : max_waiting_(max_waiting), max_long_running_(std::max(1, threads - 1)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

Executor::~Executor() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status Executor::Run(std::function<void()> work, Label label) {
  absl::MutexLock lock(&mutex_);
  if (!label.under_way) {
    const auto found = waiting_of_.find(label.client);
    const size_t own = found == waiting_of_.end() ? 0 : found->second.works;
    if (waiting() >= max_waiting_ || own >= max_waiting_ - waiting()) {
      return ResourceExhausted("control queue",
                               absl::StrCat(waiting(), " control calls are waiting already, ", own, " of this client"),
                               absl::Seconds(1));
    }
  }
  Waiting& of_client = waiting_of_[label.client];
  ++of_client.works;
  // Never in the round that has begun: whoever sends one at a time would be served in it again and again.
  of_client.last_round = std::max(round_, of_client.last_round) + 1;
  Line& line = label.kind == Kind::kLong ? long_line_ : short_line_;
  line.emplace(Turn{of_client.last_round, arrived_++}, Work{label.client, std::move(work)});
  return absl::OkStatus();
}

Executor::Work Executor::Take(Line& line) {
  const auto first = line.begin();
  round_ = std::max(round_, first->first.round);
  Work work = std::move(first->second);
  line.erase(first);
  const auto of_client = waiting_of_.find(work.client);
  if (--of_client->second.works == 0) waiting_of_.erase(of_client);
  return work;
}

void Executor::Loop() {
  while (true) {
    Work work;
    bool is_long = false;
    {
      absl::MutexLock lock(&mutex_,
                           absl::Condition(
                               +[](Executor* self) ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->HasWork(); }, this));
      is_long = MayTakeLong() && (short_line_.empty() || long_line_.begin()->first < short_line_.begin()->first);
      if (!is_long && short_line_.empty()) return;
      work = Take(is_long ? long_line_ : short_line_);
      if (is_long) ++long_running_;
    }
    work.run();
    work.run = nullptr;  // What it holds goes before the thread counts as free.
    if (!is_long) continue;
    absl::MutexLock lock(&mutex_);
    --long_running_;
  }
}

}  // namespace densityd::rpc
