#include "server/base/errors.h"

#include <google/rpc/error_details.pb.h>

#include <string>

#include "absl/random/random.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "server/base/logging.h"
#include "server/base/retry_info.h"
#include "server/base/strings.h"
#include "server/base/tellable.h"

namespace densityd {
namespace {

void Attach(const google::protobuf::Message& detail, absl::Status& status) {
  status.SetPayload(absl::StrCat("type.googleapis.com/", detail.GetDescriptor()->full_name()),
                    absl::Cord(detail.SerializeAsString()));
}

absl::Status WithViolation(const std::string& path, std::string_view description, const std::string& message) {
  google::rpc::BadRequest detail;
  auto& violation = *detail.add_field_violations();
  violation.set_field(Tellable(path));
  violation.set_description(Tellable(description));
  absl::Status status = absl::InvalidArgumentError(Tellable(message));
  Attach(detail, status);
  return status;
}

absl::Status WithResource(absl::StatusCode code, std::string_view type, std::string_view name,
                          std::string_view message) {
  google::rpc::ResourceInfo detail;
  detail.set_resource_type(std::string(type));
  detail.set_resource_name(Tellable(name));
  detail.set_description(Tellable(message));
  absl::Status status(code, Tellable(message));
  Attach(detail, status);
  return status;
}

}  // namespace

absl::Status InvalidArgument(std::string_view field, std::string_view message) {
  return WithViolation(std::string(field), message, absl::StrCat(ToAbsl(field), ": ", ToAbsl(message)));
}

absl::Status InvalidRow(std::string_view field, uint64_t row, std::string_view message) {
  return WithViolation(absl::StrCat(ToAbsl(field), "[", row, "]"), message,
                       absl::StrCat(ToAbsl(field), ": row ", row, ": ", ToAbsl(message)));
}

absl::Status NotFound(std::string_view type, std::string_view name, std::string_view message) {
  return WithResource(absl::StatusCode::kNotFound, type, name, message);
}

absl::Status AlreadyExists(std::string_view type, std::string_view name, std::string_view message) {
  return WithResource(absl::StatusCode::kAlreadyExists, type, name, message);
}

absl::Status FailedPrecondition(std::string_view type, std::string_view name, std::string_view message) {
  return WithResource(absl::StatusCode::kFailedPrecondition, type, name, message);
}

absl::Status Aborted(std::string_view type, std::string_view name, std::string_view message) {
  return WithResource(absl::StatusCode::kAborted, type, name, message);
}

absl::Status ResourceExhausted(std::string_view subject, std::string_view message, absl::Duration retry_after) {
  absl::Status status = absl::ResourceExhaustedError(Tellable(message));
  google::rpc::QuotaFailure quota;
  auto& violation = *quota.add_violations();
  violation.set_subject(std::string(subject));
  violation.set_description(Tellable(message));
  Attach(quota, status);
  if (retry_after < absl::InfiniteDuration()) AttachRetryInfo(retry_after, status);
  return status;
}

absl::Status DataLoss(std::string_view file, std::string_view section, std::string_view message) {
  const std::string where = section.empty() ? std::string(file) : absl::StrCat(ToAbsl(file), ": ", ToAbsl(section));
  return WithResource(absl::StatusCode::kDataLoss, "file", file, absl::StrCat(where, ": ", ToAbsl(message)));
}

absl::Status InternalError(std::string_view message) {
  absl::BitGen random;
  const std::string id = absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
  Log(LogLevel::kError, "internal error", {{"id", id}, {"error", message}});
  return absl::InternalError(absl::StrCat(ToAbsl(message), " (internal error ", id, "; the server's log has more)"));
}

absl::Status Annotate(const absl::Status& status, std::string_view prefix) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(ToAbsl(prefix), ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view type, const absl::Cord& payload) { annotated.SetPayload(type, payload); });
  return annotated;
}

}  // namespace densityd
