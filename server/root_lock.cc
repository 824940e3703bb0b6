#include "server/root_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"

namespace densityd {
namespace {

void WarnUnlocked(const std::string& root, int error) {
  Log(LogLevel::kWarning, "the root could not be locked", {{"root", root}, {"error", std::strerror(error)}});
}

}  // namespace

absl::StatusOr<FileDescriptor> LockRoot(const std::string& root) {
  const std::string path = root + kRootLockFile;
  FileDescriptor file(RetryInterrupted([&] { return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640); }));
  if (!file.valid() && errno != EROFS) return ErrnoStatus(errno, "open", path);
  if (!file.valid()) {
    WarnUnlocked(root, errno);
    return file;
  }
  if (RetryInterrupted([&] { return flock(file.get(), LOCK_EX | LOCK_NB); }) == 0) return file;
  if (errno == EWOULDBLOCK) {
    return FailedPrecondition(
        "file", root,
        absl::StrCat(root, ": another densityd owns this root; serve it with --replica, or use another --root"));
  }
  WarnUnlocked(root, errno);
  return file;
}

}  // namespace densityd
