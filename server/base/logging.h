// Structured logs: one line per event, an event's name and its facts as keys and values.
//
//   Log(LogLevel::kInfo, "model loaded", {{"model", name}, {"version", version}, {"seconds", seconds}});
//
// JSON, one object per line: {"time":"2026-11-20T12:51:07.123456Z","level":"info","event":"model loaded",…}
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace densityd {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

enum class LogFormat {
  kAuto,  ///< kText where the log goes to a terminal, else kJson
  kJson,
  kText,
};

/// Value of a fact. Views must outlive the call to Log only.
class LogValue {
 public:
  LogValue(std::string_view text) : value_(text) {}               // NOLINT(google-explicit-constructor)
  LogValue(const std::string& text) : value_(text) {}             // NOLINT(google-explicit-constructor)
  LogValue(const char* text) : value_(std::string_view(text)) {}  // NOLINT(google-explicit-constructor)
  LogValue(bool value) : value_(value) {}                         // NOLINT(google-explicit-constructor)
  LogValue(double value) : value_(value) {}                       // NOLINT(google-explicit-constructor)
  template <std::signed_integral T>
  LogValue(T value) : value_(static_cast<int64_t>(value)) {}  // NOLINT(google-explicit-constructor)
  template <std::unsigned_integral T>
  LogValue(T value) : value_(static_cast<uint64_t>(value)) {}  // NOLINT(google-explicit-constructor)

  using Variant = std::variant<bool, int64_t, uint64_t, double, std::string_view>;
  const Variant& get() const { return value_; }

 private:
  Variant value_;
};

struct LogField {
  std::string_view key;
  LogValue value;
};

struct LogOptions {
  LogLevel level = LogLevel::kInfo;  ///< what is below is dropped
  LogFormat format = LogFormat::kAuto;
  std::ostream* stream = nullptr;  ///< null: standard error. Must outlive the process's last line
};

/// Sets where and how lines are written; until then JSON or text on standard error from level info. Thread-safe.
void ConfigureLogging(const LogOptions& options);

/// Reads "debug", "info", "warning" or "error". INVALID_ARGUMENT for `field`.
absl::StatusOr<LogLevel> ParseLogLevel(std::string_view field, std::string_view text);

/// Whether lines of `level` are written: ask before preparing costly facts.
bool LogEnabled(LogLevel level);

/// Writes one line. Thread-safe; lines never mix. Bytes that are not UTF-8 are replaced, and control characters
/// escaped, so that outside text cannot forge a line.
void Log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace densityd
