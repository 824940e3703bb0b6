// Everything that the server does to files goes through here, so that tests can inject faults.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace densityd {

/// A file open for appending. Closed, without sync, when destroyed.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual absl::Status Append(std::string_view bytes) = 0;
  /// Returns when the content is on stable storage.
  virtual absl::Status Sync() = 0;
  /// Returns the error of a delayed write, if any. Call once, before destruction.
  virtual absl::Status Close() = 0;
};

/// A file without a name, which nobody else can open, change or cut short: numbers that are too many for memory. It is
/// gone when destroyed, and when the process dies. Not thread-safe until it is mapped.
class ScratchFile {
 public:
  virtual ~ScratchFile() = default;
  /// RESOURCE_EXHAUSTED where the disk is full.
  virtual absl::Status Append(std::string_view bytes) = 0;
  /// All bytes, aligned to pages, to be read as long as this lives; their memory is the kernel's to take back. Call
  /// once, after the last Append.
  virtual absl::StatusOr<std::string_view> Map() = 0;
};

/// Tells a file's content from an earlier one, as far as its metadata do.
struct FileStamp {
  uint64_t inode = 0;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;  ///< since 1970
  int64_t changed_ns = 0;   ///< the same, of content or metadata

  bool operator==(const FileStamp&) const = default;
};

/// Holds a file lock until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

/// Thread-safe. Errors: NOT_FOUND (ENOENT, ENOTDIR), ALREADY_EXISTS (EEXIST, ENOTEMPTY), RESOURCE_EXHAUSTED (ENOSPC,
/// EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM), PERMISSION_DENIED (EACCES, EPERM, EROFS), else UNAVAILABLE (EIO …); each
/// message names the operation, the path and the system's reason. New files and folders are for owner and group only.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// Creates or truncates.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) = 0;
  /// Creates where absent; writes at the end.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) = 0;
  /// The whole file. RESOURCE_EXHAUSTED where it is larger than `max_bytes`; FAILED_PRECONDITION where it is no regular
  /// file.
  virtual absl::StatusOr<std::string> Read(const std::string& path, uint64_t max_bytes) = 0;
  /// The bytes from `offset` on, at most `max_bytes`; fewer, or none, where the file ends. For files that grow, and for
  /// those that are read in parts. FAILED_PRECONDITION where it is no regular file.
  virtual absl::StatusOr<std::string> ReadRange(const std::string& path, uint64_t offset, uint64_t max_bytes) = 0;
  virtual absl::StatusOr<uint64_t> Size(const std::string& path) = 0;
  virtual absl::StatusOr<FileStamp> Stamp(const std::string& path) = 0;
  virtual absl::StatusOr<bool> Exists(const std::string& path) = 0;
  /// On the file system of `folder`.
  virtual absl::StatusOr<std::unique_ptr<ScratchFile>> CreateScratch(const std::string& folder) = 0;
  /// Names in a folder, sorted, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& folder) = 0;
  /// Makes a folder and its parents; OK where it exists.
  virtual absl::Status MakeFolders(const std::string& folder) = 0;
  /// Makes one folder. ALREADY_EXISTS.
  virtual absl::Status MakeFolder(const std::string& folder) = 0;
  /// Atomic; replaces a file at `to`.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  /// Atomic; ALREADY_EXISTS where there is something at `to`. (On file systems without RENAME_NOREPLACE, such as NFS,
  /// an empty folder at `to` may be replaced.)
  virtual absl::Status RenameExclusive(const std::string& from, const std::string& to) = 0;
  /// Removes a file, or an empty folder. NOT_FOUND.
  virtual absl::Status Remove(const std::string& path) = 0;
  /// Removes a folder and all below it without following links; OK where absent.
  virtual absl::Status RemoveRecursively(const std::string& folder) = 0;
  /// Makes creations and renames in the folder durable.
  virtual absl::Status SyncFolder(const std::string& folder) = 0;
  /// Waits for an exclusive lock on a file, which is created where absent.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;

  /// The real one.
  static FileSystem& Real();
};

/// 16 hexadecimal digits that nobody else has: for temporary names.
std::string UniqueSuffix();

/// Of an open file. `path` is for messages.
absl::StatusOr<FileStamp> StampOf(int fd, std::string_view path);

/// Writes `bytes` to `path` all or nothing: <path>.tmp-<unique>, sync, rename, sync of the folder. After an error
/// nothing temporary remains, and `path` holds the old bytes, or, where only the last sync failed, the new ones.
absl::Status WriteFileAtomically(FileSystem& files, const std::string& path, std::string_view bytes);
/// The same with `temporary`, a path on the same file system that nobody else uses: for those who have a place for what
/// a crash leaves behind.
absl::Status WriteFileAtomically(FileSystem& files, const std::string& path, std::string_view bytes,
                                 const std::string& temporary);

}  // namespace densityd
