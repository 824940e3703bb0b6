// The process of one training, seen from the server.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/posix.h"
#include "server/training/worker_lock.h"

namespace densityd::training {

/// How a process ended.
struct WorkerExit {
  bool known = true;           ///< false for an adopted process: the system tells its parent alone
  int exit_code = 0;           ///< meaningful where `signal` is 0
  int signal = 0;              ///< that killed it, or 0
  uint64_t max_rss_bytes = 0;  ///< the most memory that it held
};

/// "was killed by SIGSEGV (Segmentation fault)", "ended with exit code 3"; with a hint where memory may have run out.
std::string DescribeExit(const WorkerExit& exit);

/// A running `<binary> train-worker <folder>`. It goes on when the server dies, so that the next one can adopt it. Not
/// thread-safe.
class WorkerProcess {
 public:
  /// Starts it in a process group of its own, without any of the server's descriptors, with `threads` compute threads
  /// and its output appended to `log_file`. FAILED_PRECONDITION where it cannot be started.
  static absl::StatusOr<WorkerProcess> Start(const std::string& binary, const std::string& folder,
                                             const std::string& log_file, uint32_t threads);

  /// Takes over a process that an earlier server started.
  static WorkerProcess Adopt(LiveWorker worker);

  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  /// Kills and reaps it where Wait was not called.
  ~WorkerProcess();

  /// Readable when the process has ended.
  int ended_fd() const { return ended_.get(); }
  /// Resident memory, in bytes, but for pages of files, which the kernel takes back as it likes; 0 where it has ended.
  uint64_t ResidentBytes() const;
  /// Sends `signal` to the process and everything that it started.
  void Signal(int signal) const;
  /// Waits for the end, kills what it left running, and reaps it. Call once.
  WorkerExit Wait();

 private:
  WorkerProcess(pid_t pid, FileDescriptor ended, bool is_child)
      : pid_(pid), ended_(std::move(ended)), is_child_(is_child) {}
  bool HasEnded() const;

  pid_t pid_;
  FileDescriptor ended_;
  bool is_child_;
};

}  // namespace densityd::training
