#include "server/training/training_run.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/training/event_log.h"
#include "server/training/training_store.h"

namespace densityd::training {
namespace {

// File systems that several machines share do not report each other's changes; looking once a second covers them.
constexpr absl::Duration kLongestWait = absl::Seconds(1);
constexpr uint64_t kOutputBytes = 2048;

// Tells when something in a folder changed.
FileDescriptor WatchFolder(const std::string& folder) {
  FileDescriptor changes(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!changes.valid() || inotify_add_watch(changes.get(), folder.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
    Log(LogLevel::kWarning, "progress of a training will be seen up to a second late: its folder cannot be watched",
        {{"folder", folder}, {"error", std::strerror(errno)}, {"do", "raise fs.inotify.max_user_instances"}});
  }
  return changes;
}

void Drain(int fd) {
  char buffer[4096];
  while (read(fd, buffer, sizeof(buffer)) > 0) {
  }
}

// The last whole lines of the process's output.
std::string OutputTail(FileSystem& files, const std::string& path) {
  const absl::StatusOr<uint64_t> size = files.Size(path);
  if (!size.ok()) return "";
  const uint64_t begin = *size > kOutputBytes ? *size - kOutputBytes : 0;
  absl::StatusOr<std::string> tail = files.ReadRange(path, begin, kOutputBytes);
  if (!tail.ok()) return "";
  if (begin > 0) tail->erase(0, tail->find('\n') + 1);
  while (!tail->empty() && tail->back() == '\n') tail->pop_back();
  return *std::move(tail);
}

}  // namespace

// Reads the event log and keeps what decides about the end.
class TrainingRun::Follower {
 public:
  Follower(FileSystem& files, const std::string& folder, const std::function<void(const TrainingEvent&)>& on_event)
      : reader_(files, folder + kEventsFile), on_event_(on_event) {}

  void Follow(RunResult& result) {
    if (!result.log.ok()) return;
    std::vector<TrainingEvent> events;
    result.log = reader_.ReadNew(events);
    for (const TrainingEvent& event : events) {
      if (event.has_published()) result.published = event.published();
      if (event.has_failed()) result.failed = event.failed();
      on_event_(event);
    }
  }

 private:
  EventLogReader reader_;
  const std::function<void(const TrainingEvent&)>& on_event_;
};

TrainingRun::TrainingRun(FileSystem& files, std::string folder, absl::Duration grace)
    : files_(files), folder_(std::move(folder)), grace_(grace), stop_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

void TrainingRun::RequestStop() {
  // Fails only when the counter is full, and then it is readable.
  [[maybe_unused]] const int ignored = eventfd_write(stop_.get(), 1);
}

RunResult TrainingRun::Run(const std::string& binary, uint32_t threads,
                           const std::function<void(const TrainingEvent&)>& on_event) {
  RunResult result;
  const FileDescriptor changes = WatchFolder(folder_);
  absl::StatusOr<WorkerProcess> process = WorkerProcess::Start(binary, folder_, folder_ + kWorkerLogFile, threads);
  if (!process.ok()) {
    result.started = process.status();
    return result;
  }
  Follower follower(files_, folder_, on_event);
  absl::Time kill_at = absl::InfiniteFuture();
  bool stopping = false;
  // poll passes over negative descriptors: a folder that cannot be watched, and the stop once it was seen.
  pollfd waits[] = {{process->ended_fd(), POLLIN, 0}, {changes.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  for (;;) {
    const absl::Duration wait = std::clamp(kill_at - absl::Now(), absl::ZeroDuration(), kLongestWait);
    poll(waits, std::size(waits), static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(wait, absl::Milliseconds(1)))));
    if (waits[1].revents != 0) Drain(changes.get());
    follower.Follow(result);
    if (waits[0].revents != 0) break;
    if (!stopping && waits[2].revents != 0) {
      stopping = true;
      waits[2].fd = -1;
      kill_at = absl::Now() + grace_;
      process->Signal(SIGTERM);
    }
    if (absl::Now() >= kill_at) {
      kill_at = absl::InfiniteFuture();
      result.killed = true;
      process->Signal(SIGKILL);
    }
  }
  result.exit = process->Wait();
  follower.Follow(result);
  result.output = OutputTail(files_, folder_ + kWorkerLogFile);
  return result;
}

}  // namespace densityd::training
