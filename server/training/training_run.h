// One run of a training's process: starts it, follows its events, waits for its end.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/file_system.h"
#include "server/base/posix.h"
#include "server/training/training_record.pb.h"
#include "server/training/worker_process.h"

namespace densityd::training {

/// How a run ended.
struct RunResult {
  absl::Status started;  ///< why the process could not be started
  WorkerExit exit;       ///< meaningful where `started` is OK
  absl::Status log;      ///< DATA_LOSS where the event log is damaged
  std::optional<Published> published;
  std::optional<Failed> failed;
  bool killed = false;  ///< it did not stop in time when it was asked to, and was killed
  std::string output;   ///< the last lines of the process's output
};

/// RequestStop may be called from any thread; Run by one.
class TrainingRun {
 public:
  /// `grace` is the time between asking the process to stop (SIGTERM) and killing it (SIGKILL).
  TrainingRun(FileSystem& files, std::string folder, absl::Duration grace);

  /// Runs `<binary> train-worker <folder>` to its end. `on_event` is called for each event as soon as it was written.
  RunResult Run(const std::string& binary, uint32_t threads, const std::function<void(const TrainingEvent&)>& on_event);

  /// Makes Run end soon. May come before it, or several times.
  void RequestStop();

 private:
  class Follower;

  FileSystem& files_;
  const std::string folder_;
  const absl::Duration grace_;
  FileDescriptor stop_;  // eventfd: readable from the first RequestStop on
};

}  // namespace densityd::training
