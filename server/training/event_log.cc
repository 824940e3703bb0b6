#include "server/training/event_log.h"

#include <utility>

#include "server/base/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/training/timestamps.h"

namespace densityd::training {
namespace {

constexpr uint64_t kReadBytes = 2 * kMaxRecordBytes;

// Bytes of the whole records at the start of a log, up to the first that is torn or damaged.
absl::StatusOr<std::string> ReadWholeRecords(FileSystem& files, const std::string& path) {
  RecordParser parser(path);
  std::string whole;
  std::vector<std::string> payloads;
  for (;;) {
    absl::StatusOr<std::string> bytes = files.ReadRange(path, whole.size(), kReadBytes);
    if (!bytes.ok()) return bytes.status();
    const absl::Status parsed = parser.Parse(*bytes, payloads);
    const uint64_t understood = parser.offset() - whole.size();
    whole.append(*bytes, 0, understood);
    if (!parsed.ok()) {
      Log(LogLevel::kWarning, "a training's event log is damaged; what stands before that counts",
          {{"error", ToStd(parsed.message())}});
    }
    if (!parsed.ok() || understood == 0) return whole;
    payloads.clear();
  }
}

}  // namespace

absl::StatusOr<EventLogWriter> EventLogWriter::Open(FileSystem& files, const std::string& path) {
  absl::StatusOr<bool> exists = files.Exists(path);
  if (!exists.ok()) return exists.status();
  std::string whole;
  if (*exists) {
    absl::StatusOr<std::string> records = ReadWholeRecords(files, path);
    if (!records.ok()) return records.status();
    whole = *std::move(records);
  }
  if (whole.empty()) whole = kRecordFileMagic;
  absl::StatusOr<uint64_t> size = *exists ? files.Size(path) : 0;
  if (!size.ok()) return size.status();
  if (*size != whole.size()) {
    if (absl::Status status = WriteFileAtomically(files, path, whole); !status.ok()) return status;
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> file = files.OpenForAppend(path);
  if (!file.ok()) return file.status();
  return EventLogWriter(files, path, *std::move(file));
}

absl::Status EventLogWriter::Append(TrainingEvent event, bool durable) {
  if (file_ == nullptr) {
    absl::StatusOr<EventLogWriter> again = Open(*files_, path_);
    if (!again.ok()) return again.status();
    *this = *std::move(again);
  }
  *event.mutable_time() = ToTimestamp(Clock::Real().Now());
  absl::Status status = file_->Append(EncodeRecord(event.SerializeAsString()));
  if (status.ok() && durable) status = file_->Sync();
  if (!status.ok()) file_.reset();
  return status;
}

absl::Status EventLogReader::ReadNew(std::vector<TrainingEvent>& events) {
  for (;;) {
    const uint64_t begin = parser_.offset();
    absl::StatusOr<std::string> bytes = files_->ReadRange(path_, begin, kReadBytes);
    if (absl::IsNotFound(bytes.status())) return absl::OkStatus();
    if (!bytes.ok()) return bytes.status();
    std::vector<std::string> payloads;
    absl::Status parsed = parser_.Parse(*bytes, payloads);
    for (const std::string& payload : payloads) {
      TrainingEvent event;
      if (!event.ParseFromString(payload)) return DataLoss(path_, "event", "is no training event");
      events.push_back(std::move(event));
    }
    if (!parsed.ok() || parser_.offset() == begin) return parsed;
  }
}

}  // namespace densityd::training
