// Errors with the details that a caller needs to act on them.
//
// Every function returns a status with the code of the table in docs/architecture.md, a message for people, and a
// google.rpc detail message as a payload (type URL "type.googleapis.com/google.rpc.…"), which server/rpc sends along.
//
//   return InvalidArgument("rows", absl::StrCat("has ", cols, " columns; the model has ", features));
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace densityd {

/// INVALID_ARGUMENT with a BadRequest for `field`, a path such as `layers[3].coupling.mask`. The message is
/// "<field>: <message>".
absl::Status InvalidArgument(std::string_view field, std::string_view message);

/// INVALID_ARGUMENT for one row (0-based) of `field`; the BadRequest names "<field>[<row>]". The message is
/// "<field>: row <row>: <message>".
absl::Status InvalidRow(std::string_view field, uint64_t row, std::string_view message);

/// NOT_FOUND with a ResourceInfo. `type` is for example "model", "version", "alias", "training", "dataset", "file".
absl::Status NotFound(std::string_view type, std::string_view name, std::string_view message);

/// ALREADY_EXISTS with a ResourceInfo.
absl::Status AlreadyExists(std::string_view type, std::string_view name, std::string_view message);

/// FAILED_PRECONDITION with a ResourceInfo.
absl::Status FailedPrecondition(std::string_view type, std::string_view name, std::string_view message);

/// ABORTED with a ResourceInfo: it changed meanwhile; read it again and retry.
absl::Status Aborted(std::string_view type, std::string_view name, std::string_view message);

/// RESOURCE_EXHAUSTED with a QuotaFailure for `subject` (for example "queue", "memory", "disk") and, where
/// `retry_after` is finite, a RetryInfo.
absl::Status ResourceExhausted(std::string_view subject, std::string_view message,
                               absl::Duration retry_after = absl::InfiniteDuration());

/// DATA_LOSS for `section` of `file` ("" for the whole file), with a ResourceInfo of type "file". The message is
/// "<file>: <section>: <message>".
absl::Status DataLoss(std::string_view file, std::string_view section, std::string_view message);

/// INTERNAL: a bug. The message carries a fresh id, which the log line written here has too.
absl::Status InternalError(std::string_view message);

/// `status` with "<prefix>: " before its message; code and payloads stay. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view prefix);

}  // namespace densityd
