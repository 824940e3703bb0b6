#include "server/rpc/control.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/rpc/permissions.h"

namespace densityd::rpc {

absl::Status CallTimer::Authenticate() {
  if (environment_->authorizer == nullptr) return absl::OkStatus();
  absl::StatusOr<Caller> caller = environment_->authorizer->Authenticate(*context_);
  if (!caller.ok()) return caller.status();
  caller_ = *std::move(caller);
  return absl::OkStatus();
}

absl::Status CallTimer::Admit() {
  if (auto status = CheckCaller(); !status.ok()) return status;
  auto counted = in_flight_.Begin(environment_->clients->Of(*context_, context_->peer(), caller_).quota);
  if (!counted.ok()) {
    environment_->metrics->OnRejected("client_calls");
    return counted;
  }
  if (!environment_->replica || !PermissionOf(method_).owner_only) return absl::OkStatus();
  return FailedPrecondition("server", "replica",
                            absl::StrCat(telemetry::RpcMethodName(method_),
                                         " is for the server that owns the root; this one is a replica of it"));
}

absl::Status CallTimer::CheckCaller() {
  if (environment_->authorizer == nullptr) {
    known_ = true;
    return absl::OkStatus();
  }
  Admission admission = environment_->authorizer->Admit(*context_, method_, subject_);
  caller_ = std::move(admission.caller);
  known_ = admission.status.ok() || !caller_.name().empty();
  return admission.status;
}

grpc::Status CallTimer::End(const absl::Status& status) {
  in_flight_ = serving::CallInFlight();
  // Who is not known changed nothing, and could fill the disk with lines.
  if (known_ && environment_->audit_log != nullptr && PermissionOf(method_).audited) {
    environment_->audit_log->Record({.who = caller_.name(),
                                     .peer = context_->peer(),
                                     .method = method_,
                                     .subject = subject_,
                                     .made = made_,
                                     .status = status});
  }
  return ToGrpcStatus(environment_->hidden_root.In(status));
}

grpc::Status CallTimer::Report(const absl::Status& status) {
  const absl::Duration duration = environment_->clock->Now() - arrival_;
  environment_->metrics->OnRequest(environment_->metrics->shared_shard(), method_, status.code(), duration);
  if (environment_->access_log->Wants(status, duration)) Log(status, duration);
  return End(status);
}

grpc::Status CallTimer::ReportStream(const absl::Status& status) {
  const absl::Duration duration = environment_->clock->Now() - arrival_;
  environment_->metrics->OnRequest(environment_->metrics->shared_shard(), method_, status.code(), duration);
  if (!status.ok()) Log(status, duration);
  return End(status);
}

void CallTimer::Log(const absl::Status& status, absl::Duration duration) const {
  const auto& metadata = context_->client_metadata();
  const auto traceparent = metadata.find("traceparent");
  environment_->access_log->Record(
      {.method = method_,
       .status = status,
       .duration = duration,
       .model = subject_,
       .peer = context_->peer(),
       .traceparent = traceparent == metadata.end()
                          ? std::string_view()
                          : std::string_view(traceparent->second.data(), traceparent->second.size())});
}

}  // namespace densityd::rpc
