// One run of a training's process: starts it, follows its events, waits for its end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/file_system.h"
#include "server/base/posix.h"
#include "server/training/training_record.pb.h"
#include "server/training/worker_process.h"

namespace densityd::training {

/// How a process is run.
struct RunOptions {
  std::string binary;                                 ///< started as `<binary> train-worker <folder>`
  uint32_t threads = 1;                               ///< compute threads of the process
  absl::Duration grace;                               ///< between asking it to stop (SIGTERM) and killing it (SIGKILL)
  absl::Duration stall;                               ///< without a word from it, after which it is said to stall
  uint64_t memory_bytes = 0;                          ///< resident memory at which it is killed; 0: no limit
  absl::Duration time_limit;                          ///< of the whole training, for messages
  absl::Time time_limit_at = absl::InfiniteFuture();  ///< when it is killed
};

/// Who hears of a run while it goes on; on the thread that calls Run.
struct RunObserver {
  std::function<void(const TrainingEvent&)> on_event;  ///< as soon as it was written
  std::function<void()> on_stall;  ///< nothing was heard for RunOptions::stall; until the next event
};

/// How a run ended.
struct RunResult {
  absl::Status started;     ///< why the process could not be started
  WorkerExit exit;          ///< meaningful where `started` is OK
  absl::Status log;         ///< DATA_LOSS where the event log is damaged
  absl::Status over_limit;  ///< RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED: it was killed because it exceeded a limit
  std::optional<Published> published;
  std::optional<Failed> failed;
  bool suspended = false;      ///< it obeyed a request to stop, and can be started again
  bool asked_to_stop = false;  ///< by RequestStop
  std::string output;          ///< the last lines of the process's output
};

/// Notes what `event` says about the end of the process that told it.
void KeepEvent(const TrainingEvent& event, RunResult& run);

/// RequestStop may be called from any thread; Run by one.
class TrainingRun {
 public:
  TrainingRun(FileSystem& files, std::string folder, RunOptions options);

  /// Follows the process that trains in the folder to its end: one that lives already, or one that is started.
  RunResult Run(const RunObserver& observer);

  /// Makes Run end soon. May come before it, or several times.
  void RequestStop();

 private:
  class Follower;

  absl::StatusOr<WorkerProcess> AdoptOrStart(Follower& follower, RunResult& result);
  void Follow(WorkerProcess& process, int changes, Follower& follower, RunResult& result);
  /// Why the process must be killed, if it must.
  absl::Status CheckLimits(const WorkerProcess& process) const;

  FileSystem& files_;
  const std::string folder_;
  const RunOptions options_;
  FileDescriptor stop_;  // eventfd: readable from the first RequestStop on
};

}  // namespace densityd::training
