// A file system that fails where a test says, and that can lose what was never synced.
//
//   for (int point = 0;; ++point) {
//     FaultyFileSystem files(FileSystem::Real());
//     files.StopBefore(point);                        // the process "dies" before its point-th change
//     Publish(files);
//     if (!files.reached()) break;                    // Publish makes fewer changes: every point was tried
//     files.Crash(FaultyFileSystem::Loss::kUnsynced); // the power goes, too
//     ... reopen with FileSystem::Real() and look ...
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/file_system.h"

namespace densityd::testing {

/// Hands everything to another file system and counts the changes: every call but Read, ReadRange, Size, Stamp, Exists
/// and List, each call on a WritableFile included, and each Append to a ScratchFile. Thread-safe.
class FaultyFileSystem final : public FileSystem {
 public:
  /// What a crash takes away.
  enum class Loss {
    kNothing,   ///< the kernel had written everything: the process died
    kUnsynced,  ///< contents without Sync, and names without SyncFolder, are gone: the power failed
    kSome,      ///< a part of them, by a seed: the power failed while the kernel was writing them
  };
  struct Case {
    Loss loss;
    uint64_t seed;
  };
  /// The crashes to try at each point of failure: each loss, the last with the seeds 1 … DENSITYD_CRASH_SEEDS (3).
  static std::vector<Case> Crashes();

  explicit FaultyFileSystem(FileSystem& real);
  ~FaultyFileSystem() override;

  /// The `n`-th change (from 0) fails with `status` and does nothing; all others work.
  void FailAt(int n, absl::Status status);
  /// Every change from the `n`-th on fails with `status` and does nothing: the disk stays full, or read-only.
  void FailFrom(int n, absl::Status status);
  /// Every call from the `n`-th change on fails and does nothing, as if the process had died before it.
  void StopBefore(int n);
  /// Everything works again.
  void Heal();
  /// Whether a fault happened.
  bool reached() const;
  /// Changes asked for so far.
  int changes() const;

  /// Every read (Read, ReadRange, Size, Stamp, Exists, List) from the `n`-th (from 0) that comes after this fails with
  /// `status`, once: a bad block.
  void FailReadAt(int n, absl::Status status);

  /// Undoes on the real file system what `loss` takes away. Afterwards every call fails, as after StopBefore. The
  /// test's property "crash_points" tells how many of these the process has tried so far where a fault had stopped
  /// something.
  void Crash(Loss loss, uint64_t seed = 0);

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForAppend(const std::string& path) override;
  absl::StatusOr<std::string> Read(const std::string& path, uint64_t max_bytes) override;
  absl::StatusOr<std::string> ReadRange(const std::string& path, uint64_t offset, uint64_t max_bytes) override;
  absl::StatusOr<uint64_t> Size(const std::string& path) override;
  absl::StatusOr<FileStamp> Stamp(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<ScratchFile>> CreateScratch(const std::string& folder) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override;
  absl::Status MakeFolders(const std::string& folder) override;
  absl::Status MakeFolder(const std::string& folder) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status RenameExclusive(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status RemoveRecursively(const std::string& folder) override;
  absl::Status SyncFolder(const std::string& folder) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;

 private:
  friend class FaultyScratchFile;
  friend class FaultyWritableFile;

  /// A name that a crash would undo, because none of the folders that hold it was synced since. (A rename is one change
  /// of a journalling file system: syncing either folder makes it last.)
  struct UnsyncedName {
    std::vector<std::string> folders;
    std::function<void()> undo;
  };

  /// Counts a change; the status with which it is to fail, else OK.
  absl::Status Change();
  absl::Status CheckAlive() const;
  /// Counts a read; the status with which it is to fail, else OK.
  absl::Status BeforeRead();
  absl::StatusOr<std::unique_ptr<WritableFile>> Open(const std::string& path, bool truncate);
  absl::Status RenameWith(absl::Status (FileSystem::*rename)(const std::string&, const std::string&),
                          const std::string& from, const std::string& to);
  void Written(const std::string& path);
  void Synced(const std::string& path);
  void NameChanged(const std::vector<std::string>& paths, std::function<void()> undo);

  FileSystem& real_;
  mutable absl::Mutex mutex_;
  int changes_ ABSL_GUARDED_BY(mutex_) = 0;
  int first_fault_ ABSL_GUARDED_BY(mutex_) = -1;
  bool faults_last_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool dead_ ABSL_GUARDED_BY(mutex_) = false;
  bool reached_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status fault_ ABSL_GUARDED_BY(mutex_);
  int reads_left_ ABSL_GUARDED_BY(mutex_) = -1;  ///< until the one that fails; negative: none does
  absl::Status read_fault_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> unsynced_contents_ ABSL_GUARDED_BY(mutex_);
  std::vector<UnsyncedName> unsynced_names_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::testing
