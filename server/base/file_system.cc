#include "server/base/file_system.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/posix.h"
#include "server/base/remove_recursively.h"
#include "server/base/strings.h"

namespace densityd {
namespace {

constexpr mode_t kFileMode = 0660;
constexpr mode_t kFolderMode = 0770;

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(FileDescriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = RetryInterrupted([&] { return write(fd_.get(), bytes.data(), bytes.size()); });
      if (written < 0) return ErrnoStatus(errno, "write", path_);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (RetryInterrupted([&] { return fsync(fd_.get()); }) != 0) return ErrnoStatus(errno, "sync", path_);
    return absl::OkStatus();
  }

  absl::Status Close() override {
    // Linux closes the descriptor even where close() reports EINTR.
    if (close(fd_.Release()) != 0 && errno != EINTR) return ErrnoStatus(errno, "close", path_);
    return absl::OkStatus();
  }

 private:
  FileDescriptor fd_;
  std::string path_;
};

class PosixScratchFile final : public ScratchFile {
 public:
  PosixScratchFile(FileDescriptor fd, std::string folder) : fd_(std::move(fd)), folder_(std::move(folder)) {}

  ~PosixScratchFile() override {
    if (mapped_ != nullptr) munmap(mapped_, bytes_);
  }

  absl::Status Append(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = RetryInterrupted([&] { return write(fd_.get(), bytes.data(), bytes.size()); });
      if (written < 0) return ErrnoStatus(errno, "write a temporary file in", folder_);
      bytes.remove_prefix(static_cast<size_t>(written));
      bytes_ += static_cast<size_t>(written);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string_view> Map() override {
    if (bytes_ == 0) return std::string_view();
    void* mapped = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd_.get(), 0);
    if (mapped == MAP_FAILED) return ErrnoStatus(errno, "map a temporary file in", folder_);
    mapped_ = mapped;
    return std::string_view(static_cast<const char*>(mapped_), bytes_);
  }

 private:
  const FileDescriptor fd_;
  const std::string folder_;
  size_t bytes_ = 0;
  void* mapped_ = nullptr;
};

FileStamp StampFrom(const struct stat& info) {
  const auto nanoseconds = [](const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; };
  return {info.st_ino, static_cast<uint64_t>(info.st_size), nanoseconds(info.st_mtim), nanoseconds(info.st_ctim)};
}

class PosixFileLock final : public FileLock {
 public:
  explicit PosixFileLock(FileDescriptor fd) : fd_(std::move(fd)) {}

 private:
  FileDescriptor fd_;
};

absl::StatusOr<FileDescriptor> Open(const std::string& path, int flags) {
  FileDescriptor fd(RetryInterrupted([&] { return open(path.c_str(), flags | O_CLOEXEC, kFileMode); }));
  if (!fd.valid()) return ErrnoStatus(errno, "open", path);
  return fd;
}

absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWriting(const std::string& path, int flags) {
  absl::StatusOr<FileDescriptor> fd = Open(path, O_WRONLY | O_CREAT | flags);
  if (!fd.ok()) return fd.status();
  return std::make_unique<PosixWritableFile>(*std::move(fd), path);
}

/// The kernel's RENAME_NOREPLACE, or what comes closest where the file system has none: link() refuses to replace a
/// file, and rename() refuses to replace a folder that is not empty.
int RenameNoReplace(const char* from, const char* to) {
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  struct stat info;
  if (lstat(from, &info) != 0) return errno;
  if (!S_ISDIR(info.st_mode)) {
    if (link(from, to) != 0) return errno;
    return unlink(from) == 0 ? 0 : errno;
  }
  return rename(from, to) == 0 ? 0 : errno;
}

class PosixFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    return OpenForWriting(path, O_TRUNC);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) override {
    return OpenForWriting(path, O_APPEND);
  }

  absl::StatusOr<std::string> Read(const std::string& path, uint64_t max_bytes) override {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    absl::StatusOr<FileDescriptor> fd = Open(path, O_RDONLY | O_NONBLOCK);
    if (!fd.ok()) return fd.status();
    return ReadDescriptor(fd->get(), path, max_bytes);
  }

  absl::StatusOr<std::string> ReadRange(const std::string& path, uint64_t offset, uint64_t max_bytes) override {
    absl::StatusOr<FileDescriptor> fd = Open(path, O_RDONLY | O_NONBLOCK);
    if (!fd.ok()) return fd.status();
    return ReadDescriptorRange(fd->get(), path, offset, max_bytes);
  }

  absl::StatusOr<uint64_t> Size(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
    return static_cast<uint64_t>(info.st_size);
  }

  absl::StatusOr<FileStamp> Stamp(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
    return StampFrom(info);
  }

  absl::StatusOr<std::unique_ptr<ScratchFile>> CreateScratch(const std::string& folder) override {
    FileDescriptor fd(RetryInterrupted([&] { return open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); }));
    // File systems that have no files without a name, such as NFS, keep one whose name is gone.
    if (!fd.valid() && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
      const std::string path = absl::StrCat(folder, "/scratch-", UniqueSuffix());
      fd = FileDescriptor(
          RetryInterrupted([&] { return open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600); }));
      if (fd.valid() && unlink(path.c_str()) != 0) return ErrnoStatus(errno, "remove", path);
    }
    if (!fd.valid()) return ErrnoStatus(errno, "make a temporary file in", folder);
    return std::make_unique<PosixScratchFile>(std::move(fd), folder);
  }

  absl::StatusOr<bool> Exists(const std::string& path) override {
    struct stat info;
    if (lstat(path.c_str(), &info) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return ErrnoStatus(errno, "stat", path);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator entry(folder, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) return ErrnoStatus(error.value(), "list", folder);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status MakeFolders(const std::string& folder) override {
    for (size_t end = folder.find('/', 1); end != std::string::npos; end = folder.find('/', end + 1)) {
      absl::Status status = MakeFolder(folder.substr(0, end));
      if (!status.ok() && !absl::IsAlreadyExists(status)) return status;
    }
    absl::Status status = MakeFolder(folder);
    if (!absl::IsAlreadyExists(status)) return status;
    struct stat info;
    if (stat(folder.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", folder);
    return S_ISDIR(info.st_mode) ? absl::OkStatus() : status;
  }

  absl::Status MakeFolder(const std::string& folder) override {
    if (mkdir(folder.c_str(), kFolderMode) != 0) return ErrnoStatus(errno, "make folder", folder);
    return absl::OkStatus();
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) return ErrnoStatus(errno, absl::StrCat("rename ", from, " to"), to);
    return absl::OkStatus();
  }

  absl::Status RenameExclusive(const std::string& from, const std::string& to) override {
    const int error = RenameNoReplace(from.c_str(), to.c_str());
    if (error != 0) return ErrnoStatus(error, absl::StrCat("rename ", from, " to"), to);
    return absl::OkStatus();
  }

  absl::Status Remove(const std::string& path) override {
    if (remove(path.c_str()) != 0) return ErrnoStatus(errno, "remove", path);
    return absl::OkStatus();
  }

  absl::Status RemoveRecursively(const std::string& folder) override { return RemoveTree(folder); }

  absl::Status SyncFolder(const std::string& folder) override {
    absl::StatusOr<FileDescriptor> fd = Open(folder, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) return fd.status();
    if (RetryInterrupted([&] { return fsync(fd->get()); }) != 0) return ErrnoStatus(errno, "sync folder", folder);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    absl::StatusOr<FileDescriptor> fd = Open(path, O_RDWR | O_CREAT);
    if (!fd.ok()) return fd.status();
    if (RetryInterrupted([&] { return flock(fd->get(), LOCK_EX); }) != 0) return ErrnoStatus(errno, "lock", path);
    return std::make_unique<PosixFileLock>(*std::move(fd));
  }
};

absl::Status WriteAndSync(FileSystem& files, const std::string& path, std::string_view bytes) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = files.Create(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = (*file)->Append(bytes); !status.ok()) return status;
  if (absl::Status status = (*file)->Sync(); !status.ok()) return status;
  return (*file)->Close();
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

FileSystem& FileSystem::Real() {
  static PosixFileSystem files;
  return files;
}

std::string UniqueSuffix() {
  absl::BitGen random;
  return absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

absl::StatusOr<FileStamp> StampOf(int fd, std::string_view path) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "stat", path);
  return StampFrom(info);
}

absl::Status WriteFileAtomically(FileSystem& files, const std::string& path, std::string_view bytes) {
  return WriteFileAtomically(files, path, bytes, absl::StrCat(path, ".tmp-", UniqueSuffix()));
}

absl::Status WriteFileAtomically(FileSystem& files, const std::string& path, std::string_view bytes,
                                 const std::string& temporary) {
  absl::Status status = WriteAndSync(files, temporary, bytes);
  if (status.ok()) status = files.Rename(temporary, path);
  if (!status.ok()) {
    // The first error is the one that matters; a leftover is only untidy.
    if (absl::Status removed = files.Remove(temporary); !removed.ok() && !absl::IsNotFound(removed)) {
      Log(LogLevel::kWarning, "temporary file left behind", {{"path", temporary}, {"error", removed.ToString()}});
    }
    return status;
  }
  return files.SyncFolder(FolderOf(path));
}

}  // namespace densityd
