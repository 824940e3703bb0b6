#include "server/training/worker_main.h"

#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/freed_memory.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/training/event_log.h"
#include "server/training/ranks.h"
#include "server/training/run_job.h"
#include "server/training/training_store.h"
#include "server/training/worker_lock.h"

namespace densityd::training {
namespace {

std::atomic<bool> stop_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

void RequestStop(int /*signal*/) { stop_requested = true; }

void PrepareProcess() {
  struct sigaction action = {};
  action.sa_handler = RequestStop;
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGXFSZ, SIG_IGN);  // A file that may not grow any more is a full disk.
  // Best effort: a file system without /proc, or a container that forbids it, changes nothing about the training.
  std::ofstream("/proc/self/oom_score_adj") << 500;
  KeepFreedMemory();  // That of one step is that of the next.
}

// Makes an allocation beyond the limit fail here, with a reason, before the server has to kill the process. Not on a
// GPU, whose driver maps far more than it uses.
void LimitMemory(const TrainingJob& job) {
  if (job.limits().memory_bytes() == 0 || job.device() != "cpu") return;
  const rlimit limit = {job.limits().memory_bytes(), job.limits().memory_bytes()};
  if (setrlimit(RLIMIT_DATA, &limit) != 0) {
    Log(LogLevel::kWarning, "memory is limited by the server alone", {{"error", std::strerror(errno)}});
  }
}

absl::Status OutOfMemory(const TrainingJob& job) {
  const uint64_t limit = job.limits().memory_bytes();
  return ResourceExhausted(
      "memory",
      absl::StrCat("the training ran out of memory",
                   limit == 0 ? "" : absl::StrCat(", of which limits.memory_bytes allows ", limit, " bytes"), ": ",
                   limit == 0 ? "" : "ask for more, or ", "train on fewer rows, a smaller batch or a smaller flow"));
}

StopRequest LookForStop(const std::string& folder) {
  if (!stop_requested) return StopRequest::kNone;
  const absl::StatusOr<bool> cancelled = IsCancelRequested(FileSystem::Real(), folder);
  return cancelled.ok() && *cancelled ? StopRequest::kCancel : StopRequest::kSuspend;
}

// Turns exceptions of `work` into its status.
template <typename Result>
Result WithoutExceptions(const TrainingJob& job, absl::FunctionRef<Result()> work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return OutOfMemory(job);
  } catch (const std::exception& error) {
    // LibTorch appends a stack trace to the first line.
    const std::string_view text(error.what());
    // Its allocator throws an error of its own kind.
    if (text.find("DefaultCPUAllocator") != text.npos || text.find("CUDA out of memory") != text.npos) {
      return OutOfMemory(job);
    }
    return InternalError(absl::StrCat("LibTorch: ", ToAbsl(text.substr(0, text.find('\n')))));
  }
}

absl::StatusOr<Published> RunFirstRank(const std::string& folder, const TrainingJob& job, const RankPlace& place,
                                       EventLogWriter& events) {
  TrainerHooks hooks;
  hooks.stop = [&] { return LookForStop(folder); };
  hooks.on_progress = [&](const density::v1::TrainingProgress& progress) {
    TrainingEvent event;
    *event.mutable_progress() = progress;
    if (const absl::Status status = events.Append(std::move(event), /*durable=*/false); !status.ok()) {
      Log(LogLevel::kWarning, "progress could not be told", {{"error", ToStd(status.message())}});
    }
  };
  return WithoutExceptions<absl::StatusOr<Published>>(job, [&]() -> absl::StatusOr<Published> {
    absl::StatusOr<Published> published = RunJob(FileSystem::Real(), folder, job, place, hooks);
    // Where LibTorch's own error was caught on the way.
    const bool no_memory = absl::IsResourceExhausted(published.status()) &&
                           absl::StrContains(published.status().message(), "not enough memory");
    if (no_memory) return OutOfMemory(job);
    return published;
  });
}

// The last event, and the exit code that goes with it.
std::pair<TrainingEvent, WorkerExitCode> Conclude(const absl::StatusOr<Published>& published) {
  TrainingEvent event;
  if (published.ok()) {
    *event.mutable_published() = *published;
    return {event, kWorkerPublished};
  }
  const absl::Status& status = published.status();
  if (absl::IsCancelled(status)) {
    event.mutable_cancelled();
    return {event, kWorkerCancelled};
  }
  if (absl::IsAborted(status)) {
    event.mutable_suspended();
    return {event, kWorkerSuspended};
  }
  event.mutable_failed()->set_code(static_cast<int>(status.code()));
  event.mutable_failed()->set_message(std::string(ToStd(status.message())));
  return {event, kWorkerFailed};
}

// One of the other ranks: the first has the lock and tells what happens. Started by whoever runs the machines.
WorkerExitCode RunOtherRank(const std::string& folder, const TrainingJob& job, const RankPlace& place) {
  TrainerHooks hooks;
  hooks.stop = [&] { return LookForStop(folder); };
  hooks.on_progress = [](const density::v1::TrainingProgress&) {};
  const absl::Status status =
      WithoutExceptions<absl::Status>(job, [&] { return RunRank(FileSystem::Real(), folder, job, place, hooks); });
  const bool is_good = status.ok() || absl::IsAborted(status) || absl::IsCancelled(status);
  Log(is_good ? LogLevel::kInfo : LogLevel::kError, "rank ends",
      {{"rank", place.rank}, {"error", ToStd(status.message())}});
  if (status.ok()) return kWorkerPublished;
  if (absl::IsCancelled(status)) return kWorkerCancelled;
  return absl::IsAborted(status) ? kWorkerSuspended : kWorkerFailed;
}

// As the server started it.
WorkerExitCode RunFirstProcess(const std::string& folder, const TrainingJob& job,
                               const absl::StatusOr<RankPlace>& place) {
  const absl::StatusOr<std::optional<WorkerLock>> lock = WorkerLock::TryAcquire(folder);
  if (!lock.ok()) {
    Log(LogLevel::kError, "the training's folder cannot be locked",
        {{"folder", folder}, {"error", ToStd(lock.status().message())}});
    return kWorkerUnreadable;
  }
  if (!lock->has_value()) return kWorkerBusy;
  absl::StatusOr<EventLogWriter> events = EventLogWriter::Open(FileSystem::Real(), folder + kEventsFile);
  if (!events.ok()) {
    Log(LogLevel::kError, "the event log cannot be written", {{"error", ToStd(events.status().message())}});
    return kWorkerUnreadable;
  }
  TrainingEvent begun;
  begun.mutable_begun();
  if (const absl::Status status = events->Append(std::move(begun), /*durable=*/false); !status.ok()) {
    Log(LogLevel::kError, "the begin of the training could not be told", {{"error", ToStd(status.message())}});
    return kWorkerUnreadable;
  }
  const absl::StatusOr<Published> published =
      place.ok() ? RunFirstRank(folder, job, *place, *events) : absl::StatusOr<Published>(place.status());
  auto [event, exit_code] = Conclude(published);
  const bool is_good = published.ok() || exit_code == kWorkerSuspended;
  Log(is_good ? LogLevel::kInfo : LogLevel::kError, "training process ends",
      {{"exit_code", static_cast<int>(exit_code)}, {"error", ToStd(published.status().message())}});
  if (const absl::Status status = events->Append(std::move(event), /*durable=*/true); !status.ok()) {
    Log(LogLevel::kError, "the end of the training could not be told", {{"error", ToStd(status.message())}});
    return kWorkerUnreadable;
  }
  return exit_code;
}

}  // namespace

int TrainWorkerMain(const std::string& folder) {
  PrepareProcess();
  ConfigureLogging({.level = LogLevel::kInfo, .format = LogFormat::kJson, .stream = nullptr});
  const absl::StatusOr<TrainingJob> job = ReadJobFile(FileSystem::Real(), folder);
  if (!job.ok()) {
    Log(LogLevel::kError, "the training cannot be read",
        {{"folder", folder}, {"error", ToStd(job.status().message())}});
    return kWorkerUnreadable;
  }
  LimitMemory(*job);
  const absl::StatusOr<RankPlace> place = RankPlaceFromEnvironment();
  if (place.ok() && place->rank > 0) return RunOtherRank(folder, *job, *place);
  return RunFirstProcess(folder, *job, place);
}

}  // namespace densityd::training
