#include "server/base/remove_recursively.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/base/posix.h"

namespace densityd {
namespace {

/// Far above any folder that the server makes; bounds the stack against a hostile tree.
constexpr int kMaxDepth = 64;

struct CloseFolder {
  void operator()(DIR* folder) const { closedir(folder); }
};

absl::StatusOr<std::vector<std::string>> NamesIn(FileDescriptor folder_fd, const std::string& path) {
  std::unique_ptr<DIR, CloseFolder> folder(fdopendir(folder_fd.get()));
  if (folder == nullptr) return ErrnoStatus(errno, "list", path);
  folder_fd.Release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(folder.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return ErrnoStatus(errno, "list", path);
  return names;
}

/// Removes `name` in the folder `parent`; `path` is for messages.
absl::Status RemoveAt(int parent, const std::string& name, const std::string& path, int depth) {
  if (unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  // Linux answers EISDIR for a folder, POSIX EPERM.
  const int unlink_error = errno;
  if (unlink_error != EISDIR && unlink_error != EPERM) return ErrnoStatus(unlink_error, "remove", path);
  if (depth == kMaxDepth) return ErrnoStatus(ELOOP, "remove", path);
  FileDescriptor fd(
      RetryInterrupted([&] { return openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }));
  if (!fd.valid()) {
    if (errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno == ENOTDIR ? unlink_error : errno, "remove", path);
  }
  FileDescriptor listed(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!listed.valid()) return ErrnoStatus(errno, "list", path);
  absl::StatusOr<std::vector<std::string>> names = NamesIn(std::move(listed), path);
  if (!names.ok()) return names.status();
  for (const std::string& child : *names) {
    absl::Status status = RemoveAt(fd.get(), child, absl::StrCat(path, "/", child), depth + 1);
    if (!status.ok()) return status;
  }
  if (unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return ErrnoStatus(errno, "remove", path);
  return absl::OkStatus();
}

}  // namespace

absl::Status RemoveTree(const std::string& path) { return RemoveAt(AT_FDCWD, path, path, 0); }

}  // namespace densityd
