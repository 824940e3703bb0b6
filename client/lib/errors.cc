#include "densityd/errors.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "google/rpc/error_details.pb.h"

namespace densityd {
namespace {

/// The detail of type `Message` (a google.rpc message), where the status carries one that can be read.
template <typename Message>
std::optional<Message> Detail(const absl::Status& status) {
  const std::string url = "type.googleapis.com/" + std::string(Message::descriptor()->full_name());
  const absl::optional<absl::Cord> payload = status.GetPayload(url);
  Message message;
  if (!payload.has_value() || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

/// Appends `line` to `text` unless the message says it already.
void AppendNew(const absl::Status& status, const std::string& line, const std::string& said, std::string& text) {
  if (said.empty() || absl::StrContains(status.message(), said)) return;
  absl::StrAppend(&text, "\n  ", line);
}

}  // namespace

std::vector<FieldViolation> FieldViolations(const absl::Status& status) {
  std::vector<FieldViolation> violations;
  if (const auto detail = Detail<google::rpc::BadRequest>(status)) {
    for (const auto& violation : detail->field_violations()) {
      violations.push_back({violation.field(), violation.description()});
    }
  }
  return violations;
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const auto detail = Detail<google::rpc::RetryInfo>(status);
  if (!detail.has_value() || !detail->has_retry_delay()) return std::nullopt;
  return absl::Seconds(detail->retry_delay().seconds()) + absl::Nanoseconds(detail->retry_delay().nanos());
}

std::string ErrorText(const absl::Status& status) {
  if (status.ok()) return "OK";
  std::string text = absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message());
  for (const FieldViolation& violation : FieldViolations(status)) {
    AppendNew(status, absl::StrCat(violation.field, ": ", violation.description), violation.description, text);
  }
  if (const auto detail = Detail<google::rpc::QuotaFailure>(status)) {
    for (const auto& violation : detail->violations()) {
      AppendNew(status, absl::StrCat(violation.subject(), ": ", violation.description()), violation.description(),
                text);
    }
  }
  if (const auto detail = Detail<google::rpc::ResourceInfo>(status)) {
    AppendNew(status, absl::StrCat(detail->resource_type(), " ", detail->resource_name()), detail->resource_name(),
              text);
  }
  if (const auto delay = RetryDelay(status)) absl::StrAppend(&text, "\n  try again in ", absl::FormatDuration(*delay));
  return text;
}

}  // namespace densityd
