// Reading the errors of the client.
//
// A failed call keeps the server's code, message and details. The details are google.rpc messages, kept as payloads of
// the status under their type URL ("type.googleapis.com/google.rpc.BadRequest", …).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace densityd {

/// What was wrong with one field of a request.
struct FieldViolation {
  std::string field;  ///< path of the field, for example `layers[3].coupling.mask`
  std::string description;
};

/// The fields that an INVALID_ARGUMENT names; empty where it names none.
std::vector<FieldViolation> FieldViolations(const absl::Status& status);

/// When the server wants to be asked again; unset where it does not say.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

/// The whole error for people: "INVALID_ARGUMENT: <message>", followed by what the details add to the message, one per
/// line. "OK" for an OK status.
std::string ErrorText(const absl::Status& status);

}  // namespace densityd
