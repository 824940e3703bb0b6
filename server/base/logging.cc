#include "server/base/logging.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/base/errors.h"
#include "server/base/strings.h"

namespace densityd {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kLevelNames[] = {"debug", "info", "warning", "error"};

const char* LevelName(LogLevel level) { return kLevelNames[static_cast<int>(level)]; }

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

struct Output {
  LogFormat format;
  std::shared_ptr<spdlog::logger> logger;
};

std::shared_ptr<const Output> MakeOutput(const LogOptions& options) {
  spdlog::sink_ptr sink;
  LogFormat format = options.format;
  if (options.stream != nullptr) {
    sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(*options.stream, /*force_flush=*/true);
    if (format == LogFormat::kAuto) format = LogFormat::kJson;
  } else {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    if (format == LogFormat::kAuto) format = isatty(STDERR_FILENO) ? LogFormat::kText : LogFormat::kJson;
  }
  auto logger = std::make_shared<spdlog::logger>("densityd", std::move(sink));
  logger->set_pattern("%v");
  logger->set_level(spdlog::level::trace);
  return std::make_shared<const Output>(Output{format, std::move(logger)});
}

/// The one place of logging state in the process: a log has to be reachable from everywhere.
class Outputs {
 public:
  static Outputs& Get() {
    static Outputs outputs;
    return outputs;
  }
  void Set(const LogOptions& options) {
    auto output = MakeOutput(options);
    absl::MutexLock lock(&mutex_);
    output_ = std::move(output);
    level_.store(options.level, std::memory_order_relaxed);
  }
  std::shared_ptr<const Output> output() const {
    absl::MutexLock lock(&mutex_);
    return output_;
  }
  bool Enabled(LogLevel level) const { return level >= level_.load(std::memory_order_relaxed); }

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const Output> output_ ABSL_GUARDED_BY(mutex_) = MakeOutput({});
  std::atomic<LogLevel> level_{LogLevel::kInfo};
};

Json ToJson(const LogValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value.get());
}

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string JsonLine(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  Json line;
  line["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone());
  line["level"] = LevelName(level);
  line["event"] = event;
  for (const LogField& field : fields) line[std::string(field.key)] = ToJson(field.value);
  return Dump(line);
}

std::string TextLine(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  const std::string time = absl::FormatTime("%H:%M:%E3S", absl::Now(), absl::LocalTimeZone());
  std::string line = absl::StrCat(time, " ", LevelName(level), " ", ToAbsl(event));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, "  ", ToAbsl(field.key), "=", Dump(ToJson(field.value)));
  }
  return line;
}

}  // namespace

void ConfigureLogging(const LogOptions& options) { Outputs::Get().Set(options); }

absl::StatusOr<LogLevel> ParseLogLevel(std::string_view field, std::string_view text) {
  for (LogLevel level : {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    if (text == LevelName(level)) return level;
  }
  return InvalidArgument(field, absl::StrCat(Quote(text), " is none of debug, info, warning, error"));
}

bool LogEnabled(LogLevel level) { return Outputs::Get().Enabled(level); }

void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!LogEnabled(level)) return;
  const std::shared_ptr<const Output> output = Outputs::Get().output();
  const std::string line =
      output->format == LogFormat::kText ? TextLine(level, event, fields) : JsonLine(level, event, fields);
  output->logger->log(SpdlogLevel(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace densityd
