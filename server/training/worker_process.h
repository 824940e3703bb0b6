// The process of one training, seen from the server.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/posix.h"

namespace densityd::training {

/// Environment variable that holds the server's process id, so that a worker whose server died before it could ask the
/// kernel to be told knows that it is an orphan.
inline constexpr char kSupervisorPidVariable[] = "DENSITYD_SUPERVISOR_PID";

/// How a process ended.
struct WorkerExit {
  int exit_code = 0;           ///< meaningful where `signal` is 0
  int signal = 0;              ///< that killed it, or 0
  uint64_t max_rss_bytes = 0;  ///< the most memory that it held
};

/// "was killed by SIGSEGV (Segmentation fault)", "ended with exit code 3"; with a hint where memory may have run out.
std::string DescribeExit(const WorkerExit& exit);

/// A running `<binary> train-worker <folder>`. Not thread-safe. Must be waited for by the thread that started it: the
/// kernel kills the worker when that thread ends (PR_SET_PDEATHSIG, see worker_main.h).
class WorkerProcess {
 public:
  /// Starts it in a process group of its own, without any of the server's descriptors, with `threads` compute threads
  /// and its output appended to `log_file`. FAILED_PRECONDITION where it cannot be started.
  static absl::StatusOr<WorkerProcess> Start(const std::string& binary, const std::string& folder,
                                             const std::string& log_file, uint32_t threads);

  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  /// Kills and reaps it where Wait was not called.
  ~WorkerProcess();

  /// Readable when the process has ended.
  int ended_fd() const { return ended_.get(); }
  /// Sends `signal` to the process and everything that it started.
  void Signal(int signal) const;
  /// Waits for the end, kills what it left running, and reaps it. Call once.
  WorkerExit Wait();

 private:
  WorkerProcess(pid_t pid, FileDescriptor ended) : pid_(pid), ended_(std::move(ended)) {}

  pid_t pid_;
  FileDescriptor ended_;
};

}  // namespace densityd::training
