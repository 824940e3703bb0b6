// Who changed what, and with what result.
#pragma once

#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/base/file_system.h"
#include "server/telemetry/rpc_method.h"

namespace densityd::rpc {

/// One call that changed something, or tried to. Views live for the call of Record only.
struct AuditRecord {
  std::string_view who;   ///< name in the file of grants; empty where none is in use
  std::string_view peer;  ///< address
  telemetry::RpcMethod method = telemetry::RpcMethod::kTrain;
  std::string_view subject;  ///< what the call named
  std::string_view made;     ///< what came of it, such as "power@3"; may be empty
  absl::Status status;
};

/// One JSON object per line: {"time":…,"who":…,"peer":…,"method":…,"subject":…,"made":…,"code":…,"message":…}.
/// Thread-safe.
class AuditLog {
 public:
  /// Appends to `file`, which is opened anew for each line, so that it can be rotated by renaming it; empty: lines go
  /// to the server's log as events "audit".
  AuditLog(FileSystem& files, std::string file, const Clock& clock)
      : files_(&files), file_(std::move(file)), clock_(&clock) {}

  /// Whether the file can be written: to be asked before serving. OK without file.
  absl::Status CheckWritable();

  /// Writes one line. Where that fails the line goes to the server's log, with the reason, and what got into the file
  /// of it is a line of its own.
  void Record(const AuditRecord& record);

 private:
  absl::Status Append(std::string line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Whether a full disk, or a crash, has left the beginning of a line at the file's end.
  bool EndsInsideLine() const;

  FileSystem* const files_;
  const std::string file_;
  const Clock* const clock_;
  absl::Mutex mutex_;  ///< keeps lines whole
  /// A server before this one, or this one's last record, may have left half a line.
  bool may_end_inside_line_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace densityd::rpc
