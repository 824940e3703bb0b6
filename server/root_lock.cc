#include "server/root_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"

namespace densityd {

absl::StatusOr<FileDescriptor> LockRoot(const std::string& root) {
  FileDescriptor folder(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return ErrnoStatus(errno, "open", root);
  if (RetryInterrupted([&] { return flock(folder.get(), LOCK_EX | LOCK_NB); }) == 0) return folder;
  if (errno == EWOULDBLOCK) {
    return FailedPrecondition(
        "file", root,
        absl::StrCat(root, ": another densityd owns this root; serve it with --replica, or use another --root"));
  }
  Log(LogLevel::kWarning, "the root could not be locked", {{"root", root}, {"error", std::strerror(errno)}});
  return folder;
}

}  // namespace densityd
