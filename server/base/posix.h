// The little that the server needs around system calls.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace densityd {

/// Status for `error` (an errno) of `operation` ("open", "rename to …") on `path`, by the table of FileSystem. The
/// message is "<operation> <path>: <the system's reason>" and, where it is known, what to do.
absl::Status ErrnoStatus(int error, std::string_view operation, std::string_view path);

/// Owns a file descriptor; closed when destroyed.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  /// Gives up ownership.
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

/// All bytes of the open file `fd`. `path` is for messages. RESOURCE_EXHAUSTED where there are more than `max_bytes`;
/// FAILED_PRECONDITION where it is no regular file. Never allocates more than the file's bytes.
absl::StatusOr<std::string> ReadDescriptor(int fd, std::string_view path, uint64_t max_bytes);

/// The bytes of the open file `fd` from `offset` on, at most `max_bytes`: none at or behind its end. Else as
/// ReadDescriptor.
absl::StatusOr<std::string> ReadDescriptorRange(int fd, std::string_view path, uint64_t offset, uint64_t max_bytes);

/// Calls `call` until no signal interrupts it (EINTR).
template <typename Call>
auto RetryInterrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace densityd
