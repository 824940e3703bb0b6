#include "server/base/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd {
namespace {

constexpr size_t kMaxPathBytes = 4095;
// O_NONBLOCK: opening a FIFO must not wait for a writer.
constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

absl::Status CheckRelative(std::string_view field, std::string_view path) {
  if (path.empty()) return InvalidArgument(field, "is empty; name a file below the data root");
  if (path.size() > kMaxPathBytes) {
    return InvalidArgument(field, absl::StrCat("has ", path.size(), " bytes; the limit is ", kMaxPathBytes));
  }
  if (path.find('\0') != std::string_view::npos) return InvalidArgument(field, "contains a NUL byte");
  if (path.front() == '/') {
    return InvalidArgument(field, absl::StrCat(Quote(path), " is absolute; name it relative to the data root"));
  }
  for (absl::string_view part : absl::StrSplit(ToAbsl(path), '/')) {
    if (part == "..") return InvalidArgument(field, absl::StrCat(Quote(path), " contains \"..\"; leave it out"));
  }
  return absl::OkStatus();
}

/// openat2 with the kernel's own guarantee (Linux 5.6). -1 and errno on an error.
int OpenAt2(int root, const std::string& path) {
  struct open_how how = {};
  how.flags = kReadFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(
      RetryInterrupted([&] { return syscall(SYS_openat2, root, path.c_str(), &how, sizeof(how)); }));
}

/// The same step by step, for kernels and sandboxes without openat2. Precondition: CheckRelative is OK.
int OpenComponents(int root, const std::string& path) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  FileDescriptor folder;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int flags = (i + 1 < parts.size() ? O_RDONLY | O_DIRECTORY | O_CLOEXEC : kReadFlags) | O_NOFOLLOW;
    const int at = folder.valid() ? folder.get() : root;
    FileDescriptor next(RetryInterrupted([&] { return openat(at, parts[i].c_str(), flags); }));
    if (!next.valid()) {
      // With O_DIRECTORY a link is reported as ENOTDIR, like any file.
      struct stat info;
      if (errno == ENOTDIR && fstatat(at, parts[i].c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = S_ISLNK(info.st_mode) ? ELOOP : ENOTDIR;
      }
      return -1;
    }
    folder = std::move(next);
  }
  return folder.Release();
}

absl::Status OpenError(int error, std::string_view field, std::string_view path) {
  switch (error) {
    case ELOOP:
    case EXDEV:
      return InvalidArgument(field, absl::StrCat(Quote(path),
                                                 " goes through a symbolic link, which is not followed; "
                                                 "copy the file below the data root"));
    case ENOENT:
    case ENOTDIR:
      return NotFound("file", path,
                      absl::StrCat(ToAbsl(field), ": there is no file ", Quote(path), " below the data root"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat(ToAbsl(field), ": the server may not read ", Quote(path), "; change the file's permissions"));
    default:
      return ErrnoStatus(error, "open", path);
  }
}

}  // namespace

namespace internal {

absl::StatusOr<FileDescriptor> OpenBeneath(const std::string& root, std::string_view field, std::string_view path,
                                           bool use_openat2) {
  if (absl::Status status = CheckRelative(field, path); !status.ok()) return status;
  FileDescriptor folder(RetryInterrupted([&] { return open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
  if (!folder.valid()) return ErrnoStatus(errno, "open the data root", root);
  const std::string relative(path);
  int fd = -1;
  errno = ENOSYS;
  if (use_openat2) fd = OpenAt2(folder.get(), relative);
  // Old kernels know no openat2, and some container sandboxes forbid it.
  if (fd < 0 && (errno == ENOSYS || errno == EPERM)) fd = OpenComponents(folder.get(), relative);
  if (fd < 0) return OpenError(errno, field, path);
  FileDescriptor opened(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(field, absl::StrCat(Quote(path), " is not a regular file"));
  return opened;
}

}  // namespace internal

absl::StatusOr<FileDescriptor> OpenBeneath(const std::string& root, std::string_view field, std::string_view path) {
  return internal::OpenBeneath(root, field, path, /*use_openat2=*/true);
}

absl::StatusOr<std::string> ReadBeneath(const std::string& root, std::string_view field, std::string_view path,
                                        uint64_t max_bytes) {
  absl::StatusOr<FileDescriptor> fd = OpenBeneath(root, field, path);
  if (!fd.ok()) return fd.status();
  absl::StatusOr<std::string> bytes = ReadDescriptor(fd->get(), path, max_bytes);
  if (absl::IsResourceExhausted(bytes.status())) return InvalidArgument(field, ToStd(bytes.status().message()));
  return bytes;
}

}  // namespace densityd
