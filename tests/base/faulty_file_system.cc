#include "tests/base/faulty_file_system.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <system_error>
#include <utility>

#include "tests/base/temp_folder.h"

namespace densityd::testing {
namespace {

std::string FolderOf(const std::string& path) { return std::filesystem::path(path).parent_path().string(); }

absl::Status Dead() { return absl::UnavailableError("the process has died (injected)"); }

/// Whether `path` is `folder` or below it.
bool IsWithin(const std::string& path, const std::string& folder) {
  return path == folder || path.compare(0, folder.size() + 1, folder + "/") == 0;
}

/// Of a file whose contents were not synced: all of it remains, or only its beginning, behind which the file ends or is
/// full of zeros, as where its length was written before its blocks.
void LoseSome(const std::string& path, std::mt19937_64& random) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  const uint64_t kind = random() % 3;
  if (error || kind == 0) return;
  std::filesystem::resize_file(path, random() % (size + 1), error);
  if (kind == 2) std::filesystem::resize_file(path, size, error);
}

}  // namespace

/// Counts for its file system. A crash takes all of it anyway.
class FaultyScratchFile final : public ScratchFile {
 public:
  FaultyScratchFile(FaultyFileSystem& files, std::unique_ptr<ScratchFile> file)
      : files_(files), file_(std::move(file)) {}

  absl::Status Append(std::string_view bytes) override {
    if (absl::Status status = files_.Change(); !status.ok()) return status;
    return file_->Append(bytes);
  }
  absl::StatusOr<std::string_view> Map() override { return file_->Map(); }

 private:
  FaultyFileSystem& files_;
  const std::unique_ptr<ScratchFile> file_;
};

/// Counts and reports to its file system.
class FaultyWritableFile final : public WritableFile {
 public:
  FaultyWritableFile(FaultyFileSystem& files, std::unique_ptr<WritableFile> file, std::string path)
      : files_(files), file_(std::move(file)), path_(std::move(path)) {}

  absl::Status Append(std::string_view bytes) override {
    if (absl::Status status = files_.Change(); !status.ok()) {
      // What a full disk leaves behind: a part of what was to be written.
      if (!files_.CheckAlive().ok()) return status;
      (void)file_->Append(bytes.substr(0, bytes.size() / 2));
      return status;
    }
    files_.Written(path_);
    return file_->Append(bytes);
  }
  absl::Status Sync() override {
    if (absl::Status status = files_.Change(); !status.ok()) return status;
    absl::Status status = file_->Sync();
    if (status.ok()) files_.Synced(path_);
    return status;
  }
  absl::Status Close() override {
    absl::Status status = files_.Change();
    absl::Status closed = file_->Close();
    return status.ok() ? closed : status;
  }

 private:
  FaultyFileSystem& files_;
  std::unique_ptr<WritableFile> file_;
  const std::string path_;
};

FaultyFileSystem::FaultyFileSystem(FileSystem& real) : real_(real) {}
FaultyFileSystem::~FaultyFileSystem() = default;

void FaultyFileSystem::FailAt(int n, absl::Status status) {
  absl::MutexLock lock(&mutex_);
  first_fault_ = n;
  faults_last_ = false;
  fault_ = std::move(status);
}

void FaultyFileSystem::FailFrom(int n, absl::Status status) {
  absl::MutexLock lock(&mutex_);
  first_fault_ = n;
  faults_last_ = true;
  fault_ = std::move(status);
}

void FaultyFileSystem::StopBefore(int n) {
  absl::MutexLock lock(&mutex_);
  first_fault_ = n;
  stop_ = true;
  fault_ = Dead();
}

void FaultyFileSystem::Heal() {
  absl::MutexLock lock(&mutex_);
  first_fault_ = -1;
  stop_ = dead_ = false;
}

bool FaultyFileSystem::reached() const {
  absl::MutexLock lock(&mutex_);
  return reached_;
}

int FaultyFileSystem::changes() const {
  absl::MutexLock lock(&mutex_);
  return changes_;
}

std::vector<FaultyFileSystem::Case> FaultyFileSystem::Crashes() {
  std::vector<Case> crashes = {{Loss::kNothing, 0}, {Loss::kUnsynced, 0}};
  const char* asked = std::getenv("DENSITYD_CRASH_SEEDS");
  const int seeds = asked == nullptr ? 3 : std::atoi(asked);
  for (int seed = 1; seed <= seeds; ++seed) crashes.push_back({Loss::kSome, static_cast<uint64_t>(seed)});
  return crashes;
}

void FaultyFileSystem::FailReadAt(int n, absl::Status status) {
  absl::MutexLock lock(&mutex_);
  reads_left_ = n;
  read_fault_ = std::move(status);
}

void FaultyFileSystem::Crash(Loss loss, uint64_t seed) {
  static std::atomic<int> tried = 0;
  absl::MutexLock lock(&mutex_);
  dead_ = true;
  if (reached_) ::testing::Test::RecordProperty("crash_points", ++tried);
  if (loss == Loss::kNothing) return;
  // Other points of failure in the same test are to lose other things.
  std::mt19937_64 random(seed * 1'000'003 + static_cast<uint64_t>(changes_));
  for (const std::string& path : unsynced_contents_) {
    if (loss == Loss::kSome) {
      LoseSome(path, random);
    } else {
      std::error_code ignored;
      std::filesystem::resize_file(path, std::filesystem::file_size(path, ignored) / 2, ignored);
    }
  }
  // A journal is written in order: what is lost of the names is its end.
  size_t kept = loss == Loss::kSome ? random() % (unsynced_names_.size() + 1) : 0;
  for (; unsynced_names_.size() > kept; unsynced_names_.pop_back()) unsynced_names_.back().undo();
  unsynced_contents_.clear();
  unsynced_names_.clear();
}

absl::Status FaultyFileSystem::BeforeRead() {
  if (absl::Status status = CheckAlive(); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  if (reads_left_ < 0 || reads_left_-- > 0) return absl::OkStatus();
  reached_ = true;
  return read_fault_;
}

absl::Status FaultyFileSystem::Change() {
  absl::MutexLock lock(&mutex_);
  if (dead_) return Dead();
  const int n = changes_++;
  const bool fault = first_fault_ >= 0 && (n == first_fault_ || (n > first_fault_ && faults_last_));
  if (!fault) return absl::OkStatus();
  reached_ = true;
  dead_ = stop_;
  return fault_;
}

absl::Status FaultyFileSystem::CheckAlive() const {
  absl::MutexLock lock(&mutex_);
  return dead_ ? Dead() : absl::OkStatus();
}

void FaultyFileSystem::Written(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  unsynced_contents_.insert(path);
}

void FaultyFileSystem::Synced(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  unsynced_contents_.erase(path);
}

void FaultyFileSystem::NameChanged(const std::vector<std::string>& paths, std::function<void()> undo) {
  UnsyncedName name{{}, std::move(undo)};
  for (const std::string& path : paths) name.folders.push_back(FolderOf(path));
  absl::MutexLock lock(&mutex_);
  unsynced_names_.push_back(std::move(name));
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultyFileSystem::Open(const std::string& path, bool truncate) {
  if (absl::Status status = Change(); !status.ok()) return status;
  const bool existed = std::filesystem::exists(path);
  auto file = truncate ? real_.Create(path) : real_.OpenForAppend(path);
  if (!file.ok()) return file.status();
  if (!existed) NameChanged({path}, [path] { std::filesystem::remove(path); });
  if (truncate) Written(path);
  return std::make_unique<FaultyWritableFile>(*this, *std::move(file), path);
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultyFileSystem::Create(const std::string& path) {
  return Open(path, /*truncate=*/true);
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultyFileSystem::OpenForAppend(const std::string& path) {
  return Open(path, /*truncate=*/false);
}

absl::StatusOr<std::string> FaultyFileSystem::Read(const std::string& path, uint64_t max_bytes) {
  if (absl::Status status = BeforeRead(); !status.ok()) return status;
  return real_.Read(path, max_bytes);
}

absl::StatusOr<std::string> FaultyFileSystem::ReadRange(const std::string& path, uint64_t offset, uint64_t max_bytes) {
  if (absl::Status status = BeforeRead(); !status.ok()) return status;
  return real_.ReadRange(path, offset, max_bytes);
}

absl::StatusOr<uint64_t> FaultyFileSystem::Size(const std::string& path) {
  if (absl::Status status = BeforeRead(); !status.ok()) return status;
  return real_.Size(path);
}

absl::StatusOr<FileStamp> FaultyFileSystem::Stamp(const std::string& path) {
  if (absl::Status status = BeforeRead(); !status.ok()) return status;
  return real_.Stamp(path);
}

absl::StatusOr<std::unique_ptr<ScratchFile>> FaultyFileSystem::CreateScratch(const std::string& folder) {
  if (absl::Status status = Change(); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<ScratchFile>> file = real_.CreateScratch(folder);
  if (!file.ok()) return file.status();
  return std::make_unique<FaultyScratchFile>(*this, *std::move(file));
}

absl::StatusOr<bool> FaultyFileSystem::Exists(const std::string& path) {
  if (absl::Status status = BeforeRead(); !status.ok()) return status;
  return real_.Exists(path);
}

absl::StatusOr<std::vector<std::string>> FaultyFileSystem::List(const std::string& folder) {
  if (absl::Status status = BeforeRead(); !status.ok()) return status;
  return real_.List(folder);
}

absl::Status FaultyFileSystem::MakeFolders(const std::string& folder) {
  if (absl::Status status = CheckAlive(); !status.ok()) return status;
  if (std::filesystem::is_directory(folder)) return real_.MakeFolders(folder);
  const std::string parent = FolderOf(folder);
  if (!parent.empty()) {
    if (absl::Status status = MakeFolders(parent); !status.ok()) return status;
  }
  absl::Status status = MakeFolder(folder);
  return absl::IsAlreadyExists(status) ? real_.MakeFolders(folder) : status;
}

absl::Status FaultyFileSystem::MakeFolder(const std::string& folder) {
  if (absl::Status status = Change(); !status.ok()) return status;
  if (absl::Status status = real_.MakeFolder(folder); !status.ok()) return status;
  NameChanged({folder}, [folder] { std::filesystem::remove_all(folder); });
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::RenameWith(absl::Status (FileSystem::*rename)(const std::string&, const std::string&),
                                          const std::string& from, const std::string& to) {
  if (absl::Status status = Change(); !status.ok()) return status;
  std::optional<std::string> replaced;
  if (std::filesystem::is_regular_file(to)) replaced = ReadFile(to);
  if (absl::Status status = (real_.*rename)(from, to); !status.ok()) return status;
  NameChanged({from, to}, [from, to, replaced] {
    // What was removed behind the rename cannot come back: then the rename counts as written.
    if (!std::filesystem::exists(to)) return;
    std::filesystem::rename(to, from);
    if (replaced) WriteFile(to, *replaced);
  });
  absl::MutexLock lock(&mutex_);
  std::set<std::string> moved;
  for (const std::string& path : unsynced_contents_) {
    moved.insert(IsWithin(path, from) ? to + path.substr(from.size()) : path);
  }
  unsynced_contents_ = std::move(moved);
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Rename(const std::string& from, const std::string& to) {
  return RenameWith(&FileSystem::Rename, from, to);
}

absl::Status FaultyFileSystem::RenameExclusive(const std::string& from, const std::string& to) {
  return RenameWith(&FileSystem::RenameExclusive, from, to);
}

absl::Status FaultyFileSystem::Remove(const std::string& path) {
  if (absl::Status status = Change(); !status.ok()) return status;
  std::optional<std::string> removed;
  if (std::filesystem::is_regular_file(path)) removed = ReadFile(path);
  if (absl::Status status = real_.Remove(path); !status.ok()) return status;
  Synced(path);
  if (removed) NameChanged({path}, [path, removed] { WriteFile(path, *removed); });
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::RemoveRecursively(const std::string& folder) {
  if (absl::Status status = Change(); !status.ok()) return status;
  if (absl::Status status = real_.RemoveRecursively(folder); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  std::erase_if(unsynced_contents_, [&](const std::string& path) { return IsWithin(path, folder); });
  std::erase_if(unsynced_names_, [&](const UnsyncedName& name) { return IsWithin(name.folders.back(), folder); });
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::SyncFolder(const std::string& folder) {
  if (absl::Status status = Change(); !status.ok()) return status;
  if (absl::Status status = real_.SyncFolder(folder); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  std::erase_if(unsynced_names_, [&](const UnsyncedName& name) {
    return std::find(name.folders.begin(), name.folders.end(), folder) != name.folders.end();
  });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<FileLock>> FaultyFileSystem::Lock(const std::string& path) {
  if (absl::Status status = Change(); !status.ok()) return status;
  return real_.Lock(path);
}

}  // namespace densityd::testing
