#include "server/registry/root_poll.h"

#include "server/base/logging.h"

namespace densityd::registry {

RootPoll::RootPoll(ModelManager& models, absl::Duration interval)
    : models_(models), interval_(interval), thread_([this] { Run(); }) {}

RootPoll::~RootPoll() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void RootPoll::Run() {
  bool failed = false;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_)) return;
    }
    const absl::Status status = models_.ReloadFromDisk(/*name=*/"", /*retry_failed=*/false).status();
    // A disk that is away for hours needs one line, not thousands.
    if (!status.ok() && !failed) Log(LogLevel::kWarning, "models not reloaded", {{"error", status.ToString()}});
    failed = !status.ok();
  }
}

}  // namespace densityd::registry
