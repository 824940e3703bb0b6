#include "server/training/worker_lock.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace densityd::training {
namespace {

struct flock WholeFile() {
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  return range;
}

// Who has the lock, or 0.
absl::StatusOr<pid_t> LockHolder(int fd, const std::string& path) {
  struct flock range = WholeFile();
  if (RetryInterrupted([&] { return fcntl(fd, F_GETLK, &range); }) != 0) return ErrnoStatus(errno, "lock", path);
  return range.l_type == F_UNLCK ? 0 : range.l_pid;
}

}  // namespace

absl::StatusOr<std::optional<WorkerLock>> WorkerLock::TryAcquire(const std::string& folder) {
  const std::string path = folder + kWorkerLockFile;
  FileDescriptor file(RetryInterrupted([&] { return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640); }));
  if (!file.valid()) return ErrnoStatus(errno, "open", path);
  struct flock range = WholeFile();
  if (RetryInterrupted([&] { return fcntl(file.get(), F_SETLK, &range); }) == 0) return WorkerLock(std::move(file));
  if (errno == EACCES || errno == EAGAIN) return std::nullopt;
  return ErrnoStatus(errno, "lock", path);
}

absl::StatusOr<std::optional<LiveWorker>> FindLiveWorker(const std::string& folder) {
  const std::string path = folder + kWorkerLockFile;
  const FileDescriptor file(RetryInterrupted([&] { return open(path.c_str(), O_RDWR | O_CLOEXEC); }));
  if (!file.valid()) {
    if (errno == ENOENT) return std::nullopt;
    return ErrnoStatus(errno, "open", path);
  }
  for (;;) {
    const absl::StatusOr<pid_t> before = LockHolder(file.get(), path);
    if (!before.ok()) return before.status();
    if (*before == 0) return std::nullopt;
    LiveWorker worker;
    worker.pid = *before;
    worker.ended = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, worker.pid, 0)));
    const int error = errno;
    // Still the holder after the descriptor was opened: so that is whom the descriptor is of.
    const absl::StatusOr<pid_t> after = LockHolder(file.get(), path);
    if (!after.ok()) return after.status();
    if (*after != *before) continue;
    if (!worker.ended.valid()) return ErrnoStatus(error, "pidfd_open of the process that locks", path);
    return worker;
  }
}

}  // namespace densityd::training
