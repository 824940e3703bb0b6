#include "server/rpc/audit_log.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"

namespace densityd::rpc {
namespace {

/// Outside text is bounded, so that a line stays one.
std::string_view Bounded(std::string_view text) { return text.substr(0, 512); }

std::string Line(const AuditRecord& record, absl::Time now) {
  nlohmann::ordered_json line;
  line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", now, absl::UTCTimeZone());
  line["who"] = record.who;
  line["peer"] = record.peer;
  line["method"] = telemetry::RpcMethodName(record.method);
  line["subject"] = Bounded(record.subject);
  line["made"] = Bounded(record.made);
  line["code"] = absl::StatusCodeToString(record.status.code());
  line["message"] = Bounded(ToStd(record.status.message()));
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace

absl::Status AuditLog::CheckWritable() {
  if (file_.empty()) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  return Annotate(Append(""), "--audit-log");
}

bool AuditLog::EndsInsideLine() const {
  const absl::StatusOr<uint64_t> size = files_->Size(file_);
  if (!size.ok() || *size == 0) return false;
  const absl::StatusOr<std::string> last = files_->ReadRange(file_, *size - 1, 1);
  return last.ok() && *last != "\n";
}

absl::Status AuditLog::Append(std::string line) {
  absl::StatusOr<std::unique_ptr<WritableFile>> file = files_->OpenForAppend(file_);
  if (!file.ok()) return file.status();
  if (may_end_inside_line_ && EndsInsideLine()) line.insert(0, 1, '\n');
  may_end_inside_line_ = true;
  if (absl::Status status = (*file)->Append(line); !status.ok()) return status;
  may_end_inside_line_ = false;
  return (*file)->Close();
}

void AuditLog::Record(const AuditRecord& record) {
  absl::Status written;
  if (!file_.empty()) {
    const std::string line = Line(record, clock_->Now());
    absl::MutexLock lock(&mutex_);
    written = Append(line);
    if (written.ok()) return;
  }
  Log(written.ok() ? LogLevel::kInfo : LogLevel::kError, "audit",
      {{"who", record.who},
       {"peer", record.peer},
       {"method", telemetry::RpcMethodName(record.method)},
       {"subject", Bounded(record.subject)},
       {"made", Bounded(record.made)},
       {"code", std::string(absl::StatusCodeToString(record.status.code()))},
       {"message", Bounded(ToStd(record.status.message()))},
       {"not_in_file", ToStd(written.message())}});
}

}  // namespace densityd::rpc
