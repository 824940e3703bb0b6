#include "server/base/posix.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd {
namespace {

std::string Reason(int error) {
  char buffer[256];
  return strerror_r(error, buffer, sizeof(buffer));
}

absl::StatusOr<uint64_t> RegularFileSize(int fd, std::string_view path) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) {
    return FailedPrecondition("file", path, absl::StrCat("read ", ToAbsl(path), ": is not a regular file"));
  }
  return static_cast<uint64_t>(info.st_size);
}

// `count` bytes from `offset` on; fewer where the file was cut meanwhile.
absl::StatusOr<std::string> ReadBytes(int fd, std::string_view path, uint64_t offset, uint64_t count) {
  std::string bytes(count, '\0');
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = RetryInterrupted(
        [&] { return pread(fd, bytes.data() + filled, bytes.size() - filled, static_cast<off_t>(offset + filled)); });
    if (got < 0) return ErrnoStatus(errno, "read", path);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace

absl::Status ErrnoStatus(int error, std::string_view operation, std::string_view path) {
  const std::string message = absl::StrCat(ToAbsl(operation), " ", ToAbsl(path), ": ", Reason(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return NotFound("file", path, message);
    case EEXIST:
    case ENOTEMPTY:
      return AlreadyExists("file", path, message);
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return ResourceExhausted("disk", absl::StrCat(message, "; free space there and try again"));
    case EMFILE:
    case ENFILE:
      return ResourceExhausted("file descriptors", absl::StrCat(message, "; raise the limit (ulimit -n)"));
    case ENOMEM:
      return ResourceExhausted("memory", message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::StatusOr<std::string> ReadDescriptor(int fd, std::string_view path, uint64_t max_bytes) {
  absl::StatusOr<uint64_t> size = RegularFileSize(fd, path);
  if (!size.ok()) return size.status();
  if (*size > max_bytes) {
    return ResourceExhausted("file size",
                             absl::StrCat("read ", ToAbsl(path), ": has ", *size, " bytes; the limit is ", max_bytes));
  }
  return ReadBytes(fd, path, 0, *size);
}

absl::StatusOr<std::string> ReadDescriptorRange(int fd, std::string_view path, uint64_t offset, uint64_t max_bytes) {
  absl::StatusOr<uint64_t> size = RegularFileSize(fd, path);
  if (!size.ok()) return size.status();
  if (*size <= offset) return std::string();
  return ReadBytes(fd, path, offset, std::min(*size - offset, max_bytes));
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (valid()) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (valid()) close(fd_);
}

}  // namespace densityd
