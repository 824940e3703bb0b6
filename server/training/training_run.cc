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

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/training/event_log.h"
#include "server/training/training_store.h"
#include "server/training/worker_lock.h"
#include "server/training/worker_main.h"

namespace densityd::training {
namespace {

// File systems that several machines share do not report each other's changes; looking once a second covers them.
constexpr absl::Duration kLongestWait = absl::Seconds(1);
constexpr uint64_t kOutputBytes = 2048;
// Whoever held the lock may have ended before it could be adopted.
constexpr int kBusyTries = 3;

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
  Follower(FileSystem& files, const std::string& folder, const RunObserver& observer)
      : reader_(files, folder + kEventsFile), observer_(observer) {}

  /// Reads what was told before this server listened. Of the past only the last progress is passed on.
  void CatchUp(RunResult& result) {
    std::vector<TrainingEvent> events;
    result.log = reader_.ReadNew(events);
    const TrainingEvent* progress = nullptr;
    for (const TrainingEvent& event : events) {
      KeepEvent(event, result);
      if (event.has_progress()) progress = &event;
    }
    if (progress != nullptr) observer_.on_event(*progress);
    last_heard_ = absl::Now();
  }

  void Follow(RunResult& result) {
    std::vector<TrainingEvent> events;
    result.log = reader_.ReadNew(events);
    for (const TrainingEvent& event : events) {
      KeepEvent(event, result);
      observer_.on_event(event);
    }
    if (!events.empty()) {
      last_heard_ = absl::Now();
      stalled_ = false;
    }
  }

  void TellOfStall(absl::Duration limit) {
    if (stalled_ || absl::Now() - last_heard_ < limit) return;
    stalled_ = true;
    observer_.on_stall();
  }

 private:
  EventLogReader reader_;
  const RunObserver& observer_;
  absl::Time last_heard_;
  bool stalled_ = false;
};

void KeepEvent(const TrainingEvent& event, RunResult& run) {
  if (event.has_begun()) {
    // What stands before is of earlier processes.
    run.failed.reset();
    run.suspended = false;
  }
  if (event.has_published()) run.published = event.published();
  if (event.has_failed()) run.failed = event.failed();
  if (event.has_suspended()) run.suspended = true;
}

TrainingRun::TrainingRun(FileSystem& files, std::string folder, RunOptions options)
    : files_(files),
      folder_(std::move(folder)),
      options_(std::move(options)),
      stop_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

void TrainingRun::RequestStop() {
  // Fails only when the counter is full, and then it is readable.
  [[maybe_unused]] const int ignored = eventfd_write(stop_.get(), 1);
}

RunResult TrainingRun::Run(const RunObserver& observer) {
  const FileDescriptor changes = WatchFolder(folder_);
  for (int tries_left = kBusyTries;; --tries_left) {
    RunResult result;
    Follower follower(files_, folder_, observer);
    absl::StatusOr<WorkerProcess> process = AdoptOrStart(follower, result);
    if (!process.ok()) {
      result.started = process.status();
      return result;
    }
    Follow(*process, changes.get(), follower, result);
    result.exit = process->Wait();
    follower.Follow(result);
    // Another process was faster to take the lock: one that an earlier server started as it died. It is adopted.
    const bool was_busy = result.exit.known && result.exit.signal == 0 && result.exit.exit_code == kWorkerBusy;
    if (was_busy && tries_left > 0) continue;
    result.output = OutputTail(files_, folder_ + kWorkerLogFile);
    return result;
  }
}

absl::StatusOr<WorkerProcess> TrainingRun::AdoptOrStart(Follower& follower, RunResult& result) {
  absl::StatusOr<std::optional<LiveWorker>> live = FindLiveWorker(folder_);
  if (!live.ok()) return live.status();
  follower.CatchUp(result);
  if (live->has_value()) {
    Log(LogLevel::kInfo, "a training process of an earlier server was adopted",
        {{"folder", folder_}, {"pid", (*live)->pid}});
    return WorkerProcess::Adopt(**std::move(live));
  }
  result = RunResult();
  return WorkerProcess::Start(options_.binary, folder_, folder_ + kWorkerLogFile, options_.threads);
}

void TrainingRun::Follow(WorkerProcess& process, int changes, Follower& follower, RunResult& result) {
  absl::Time kill_at = absl::InfiniteFuture();
  bool stopping = false;
  // poll passes over negative descriptors: a folder that cannot be watched, and the stop once it was seen.
  pollfd waits[] = {{process.ended_fd(), POLLIN, 0}, {changes, POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  for (;;) {
    const absl::Time next = result.over_limit.ok() ? std::min(kill_at, options_.time_limit_at) : kill_at;
    const absl::Duration wait = std::clamp(next - absl::Now(), absl::ZeroDuration(), kLongestWait);
    poll(waits, std::size(waits), static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(wait, absl::Milliseconds(1)))));
    if (waits[1].revents != 0) Drain(changes);
    follower.Follow(result);
    if (waits[0].revents != 0) return;
    follower.TellOfStall(options_.stall);
    if (!stopping && waits[2].revents != 0) {
      stopping = true;
      result.asked_to_stop = true;
      waits[2].fd = -1;
      kill_at = absl::Now() + options_.grace;
      process.Signal(SIGTERM);
    }
    if (result.over_limit.ok()) {
      result.over_limit = CheckLimits(process);
      if (!result.over_limit.ok()) process.Signal(SIGKILL);
    }
    if (absl::Now() >= kill_at) {
      kill_at = absl::InfiniteFuture();
      process.Signal(SIGKILL);
    }
  }
}

absl::Status TrainingRun::CheckLimits(const WorkerProcess& process) const {
  if (absl::Now() >= options_.time_limit_at) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the training took longer than its limit, limits.seconds = ", absl::ToDoubleSeconds(options_.time_limit),
        "; ask for more, or for fewer steps"));
  }
  if (options_.memory_bytes == 0) return absl::OkStatus();
  const uint64_t resident = process.ResidentBytes();
  if (resident <= options_.memory_bytes) return absl::OkStatus();
  return ResourceExhausted(
      "memory", absl::StrCat("the training process held ", resident,
                             " bytes of memory, more than its limit, limits.memory_bytes = ", options_.memory_bytes,
                             "; ask for more, or train on fewer rows, a smaller batch or a "
                             "smaller flow"));
}

}  // namespace densityd::training
