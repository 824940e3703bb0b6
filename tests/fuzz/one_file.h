// A file system that holds one file, for parsers that read through the seam.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/base/file_system.h"

namespace densityd::fuzz {

/// Every path is the same file, which can only be read. Thread-safe.
class OneFile final : public FileSystem {
 public:
  explicit OneFile(std::string content) : content_(std::move(content)) {}

  absl::StatusOr<std::string> Read(const std::string&, uint64_t max_bytes) override {
    if (content_.size() > max_bytes) return absl::ResourceExhaustedError("too large");
    return content_;
  }
  absl::StatusOr<std::string> ReadRange(const std::string&, uint64_t offset, uint64_t max_bytes) override {
    return offset < content_.size() ? content_.substr(offset, max_bytes) : std::string();
  }
  absl::StatusOr<uint64_t> Size(const std::string&) override { return content_.size(); }
  absl::StatusOr<FileStamp> Stamp(const std::string&) override { return FileStamp{.bytes = content_.size()}; }
  absl::StatusOr<bool> Exists(const std::string&) override { return true; }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string&) override { return ReadOnly(); }
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string&) override { return ReadOnly(); }
  absl::StatusOr<std::unique_ptr<ScratchFile>> CreateScratch(const std::string&) override { return ReadOnly(); }
  absl::StatusOr<std::vector<std::string>> List(const std::string&) override { return ReadOnly(); }
  absl::Status MakeFolders(const std::string&) override { return ReadOnly(); }
  absl::Status MakeFolder(const std::string&) override { return ReadOnly(); }
  absl::Status Rename(const std::string&, const std::string&) override { return ReadOnly(); }
  absl::Status RenameExclusive(const std::string&, const std::string&) override { return ReadOnly(); }
  absl::Status Remove(const std::string&) override { return ReadOnly(); }
  absl::Status RemoveRecursively(const std::string&) override { return ReadOnly(); }
  absl::Status SyncFolder(const std::string&) override { return ReadOnly(); }
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string&) override { return ReadOnly(); }

 private:
  static absl::Status ReadOnly() { return absl::PermissionDeniedError("can only be read"); }

  const std::string content_;
};

}  // namespace densityd::fuzz
