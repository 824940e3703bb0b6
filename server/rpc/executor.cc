#include "server/rpc/executor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace densityd::rpc {

Executor::Executor(int threads, size_t max_waiting) : max_waiting_(max_waiting) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

Executor::~Executor() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status Executor::Run(std::function<void()> work) {
  absl::MutexLock lock(&mutex_);
  if (waiting_.size() >= max_waiting_) {
    return ResourceExhausted("control queue", absl::StrCat(waiting_.size(), " control calls are waiting already"),
                             absl::Seconds(1));
  }
  waiting_.push_back(std::move(work));
  return absl::OkStatus();
}

void Executor::Work() {
  while (true) {
    std::function<void()> work;
    {
      absl::MutexLock lock(&mutex_,
                           absl::Condition(
                               +[](Executor* self) ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->HasWork(); }, this));
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace densityd::rpc
