#include "server/training/worker_main.h"

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <limits>
#include <new>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/training/event_log.h"
#include "server/training/run_job.h"
#include "server/training/training_store.h"
#include "server/training/worker_process.h"

namespace densityd::training {
namespace {

std::atomic<bool> stop_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

void RequestStop(int /*signal*/) { stop_requested = true; }

// False where the server that started this process is gone already.
bool TieToServer() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const char* variable = std::getenv(kSupervisorPidVariable);
  int supervisor = 0;
  // Started by hand: there is no server to be tied to.
  if (variable == nullptr || !absl::SimpleAtoi(variable, &supervisor)) return true;
  return getppid() == supervisor;
}

void PrepareProcess() {
  struct sigaction action = {};
  action.sa_handler = RequestStop;
  sigaction(SIGTERM, &action, nullptr);
  // Best effort: a file system without /proc, or a container that forbids it, changes nothing about the training.
  std::ofstream("/proc/self/oom_score_adj") << 500;
  // Memory of one step is that of the next; glibc would give it back and fault it in again.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
}

absl::StatusOr<Published> RunJobWithoutExceptions(const std::string& folder, const TrainingJob& job,
                                                  EventLogWriter& events) {
  TrainerHooks hooks;
  hooks.cancelled = [] { return stop_requested.load(); };
  hooks.on_progress = [&](const density::v1::TrainingProgress& progress) {
    TrainingEvent event;
    *event.mutable_progress() = progress;
    if (const absl::Status status = events.Append(std::move(event), /*durable=*/false); !status.ok()) {
      Log(LogLevel::kWarning, "progress could not be told", {{"error", ToStd(status.message())}});
    }
  };
  try {
    return RunJob(FileSystem::Real(), folder, job, hooks);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("memory",
                             "the training ran out of memory: train on fewer rows, a smaller batch or a "
                             "smaller flow");
  } catch (const std::exception& error) {
    // LibTorch appends a stack trace to the first line.
    const std::string_view text(error.what());
    return InternalError(absl::StrCat("LibTorch: ", ToAbsl(text.substr(0, text.find('\n')))));
  }
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
  event.mutable_failed()->set_code(static_cast<int>(status.code()));
  event.mutable_failed()->set_message(std::string(ToStd(status.message())));
  return {event, kWorkerFailed};
}

}  // namespace

int TrainWorkerMain(const std::string& folder) {
  if (!TieToServer()) return kWorkerOrphaned;
  PrepareProcess();
  ConfigureLogging({.level = LogLevel::kInfo, .format = LogFormat::kJson, .stream = nullptr});
  absl::StatusOr<TrainingJob> job = ReadJobFile(FileSystem::Real(), folder);
  if (!job.ok()) {
    Log(LogLevel::kError, "the training cannot be read",
        {{"folder", folder}, {"error", ToStd(job.status().message())}});
    return kWorkerUnreadable;
  }
  absl::StatusOr<EventLogWriter> events = EventLogWriter::Open(FileSystem::Real(), folder + kEventsFile);
  if (!events.ok()) {
    Log(LogLevel::kError, "the event log cannot be written", {{"error", ToStd(events.status().message())}});
    return kWorkerUnreadable;
  }
  const absl::StatusOr<Published> published = RunJobWithoutExceptions(folder, *job, *events);
  auto [event, exit_code] = Conclude(published);
  Log(published.ok() ? LogLevel::kInfo : LogLevel::kError, "training ended",
      {{"exit_code", static_cast<int>(exit_code)}, {"error", ToStd(published.status().message())}});
  if (const absl::Status status = events->Append(std::move(event), /*durable=*/true); !status.ok()) {
    Log(LogLevel::kError, "the end of the training could not be told", {{"error", ToStd(status.message())}});
    return kWorkerUnreadable;
  }
  return exit_code;
}

}  // namespace densityd::training
