// What happened in a training process, in order: <training folder>/events, a record file (record_file.h) of
// TrainingEvents. One process appends; others may follow while it does.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/file_system.h"
#include "server/training/record_file.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// Appends events. Not thread-safe.
class EventLogWriter {
 public:
  /// Opens `path`, or makes it. What a former writer, or a machine that lost its power, left torn or damaged is cut off
  /// first, with all behind it: what the log tells is known from elsewhere, too (outcome.h), or will be told again.
  static absl::StatusOr<EventLogWriter> Open(FileSystem& files, const std::string& path);

  /// Appends with the current time. `durable` waits until the event is on stable storage. After an error the event is
  /// not told; the next ones are, once the log can be written again: what a full disk took in part is cut off first.
  absl::Status Append(TrainingEvent event, bool durable);

 private:
  EventLogWriter(FileSystem& files, std::string path, std::unique_ptr<WritableFile> file)
      : files_(&files), path_(std::move(path)), file_(std::move(file)) {}

  FileSystem* files_;
  std::string path_;
  std::unique_ptr<WritableFile> file_;  ///< null after an error: the file may end in a part of an event
};

/// Reads events as they are appended. Not thread-safe.
class EventLogReader {
 public:
  EventLogReader(FileSystem& files, std::string path) : files_(&files), path_(std::move(path)), parser_(path_) {}

  /// The whole events that were appended since the last call; none where the file does not exist yet. Those before a
  /// damaged record are returned once, in `events`, together with DATA_LOSS; what comes after it once a writer has cut
  /// it off.
  absl::Status ReadNew(std::vector<TrainingEvent>& events);

 private:
  FileSystem* files_;
  std::string path_;
  RecordParser parser_;
};

}  // namespace densityd::training
