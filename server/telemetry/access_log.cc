#include "server/telemetry/access_log.h"

#include <optional>
#include <utility>

#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/telemetry/trace_context.h"

namespace densityd::telemetry {
namespace {

LogLevel LevelOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnavailable:
      return LogLevel::kWarning;
    default:
      return LogLevel::kInfo;
  }
}

/// Outside text in a log line is bounded; the logger escapes it.
std::string_view Bounded(std::string_view text) { return text.substr(0, 256); }

}  // namespace

int64_t AccessLog::Admit() {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = clock_->Now();
  if (now - second_ >= absl::Seconds(1)) {
    second_ = now;
    lines_ = 0;
  }
  if (lines_ >= options_.lines_per_second) {
    ++suppressed_;
    return -1;
  }
  ++lines_;
  return std::exchange(suppressed_, 0);
}

void AccessLog::Record(const CallRecord& record) {
  const LogLevel level = LevelOf(record.status);
  if (!Wants(record.status, record.duration) || !LogEnabled(level)) return;
  const int64_t suppressed = Admit();
  if (suppressed < 0) return;
  const TraceContext trace = ParseTraceparent(record.traceparent).value_or(TraceContext{});
  Log(level, record.status.ok() ? "slow call" : "failed call",
      {{"method", RpcMethodName(record.method)},
       {"code", std::string(absl::StatusCodeToString(record.status.code()))},
       {"message", Bounded(ToStd(record.status.message()))},
       {"seconds", absl::ToDoubleSeconds(record.duration)},
       {"model", Bounded(record.model)},
       {"rows", record.rows},
       {"peer", record.peer},
       {"trace_id", trace.trace_id},
       {"parent_id", trace.parent_id},
       {"suppressed", suppressed}});
}

}  // namespace densityd::telemetry
