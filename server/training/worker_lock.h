// Which process trains: <training folder>/worker, a file that the training process keeps locked as long as it lives.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/posix.h"

namespace densityd::training {

inline constexpr char kWorkerLockFile[] = "/worker";

/// The lock of this process on a training. The kernel gives it up with the process, so it cannot be left behind, and a
/// reused process id cannot be taken for it. Keep one per process and folder: closing any descriptor of the file would
/// release it.
class WorkerLock {
 public:
  /// Takes the lock, or nothing where another process has it. UNAVAILABLE where the file system has no locks.
  static absl::StatusOr<std::optional<WorkerLock>> TryAcquire(const std::string& folder);

 private:
  explicit WorkerLock(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;
};

/// A training process that lives, whoever started it.
struct LiveWorker {
  pid_t pid = 0;
  FileDescriptor ended;  ///< a pidfd: readable when the process has ended
};

/// The process that holds the lock of `folder`, if one does. Not for the process that holds it itself.
absl::StatusOr<std::optional<LiveWorker>> FindLiveWorker(const std::string& folder);

}  // namespace densityd::training
