#include "server/rpc/control.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/permissions.h"

namespace densityd::rpc {

CallTimer::CallTimer(const ControlEnvironment& environment, telemetry::RpcMethod method,
                     const grpc::CallbackServerContext& context, std::string subject)
    : environment_(&environment),
      method_(method),
      context_(&context),
      subject_(std::move(subject)),
      arrival_(environment.clock->Now()) {}

absl::Status CallTimer::Admit() {
  if (environment_->authorizer == nullptr) {
    known_ = true;
    return absl::OkStatus();
  }
  Admission admission = environment_->authorizer->Admit(*context_, method_, subject_);
  caller_ = std::move(admission.caller);
  known_ = admission.status.ok() || !caller_.name().empty();
  return admission.status;
}

grpc::Status CallTimer::End(const absl::Status& status) const {
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

grpc::Status CallTimer::Report(const absl::Status& status) const {
  const absl::Duration duration = environment_->clock->Now() - arrival_;
  environment_->metrics->OnRequest(environment_->metrics->shared_shard(), method_, status.code(), duration);
  if (environment_->access_log->Wants(status, duration)) Log(status, duration);
  return End(status);
}

grpc::Status CallTimer::ReportStream(const absl::Status& status) const {
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

grpc::ServerUnaryReactor* AnswerUnary(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                      grpc::CallbackServerContext* context, std::string subject, ControlWork work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  CallTimer timer(environment, method, *context, std::move(subject));
  absl::Status accepted = timer.Admit();
  if (accepted.ok()) {
    // Once Finish was called the context and the response may be gone.
    accepted = environment.executor->Run([timer, reactor, work = std::move(work)]() mutable {
      const absl::Status status = work(timer);
      reactor->Finish(timer.Report(status));
    });
  }
  if (!accepted.ok()) reactor->Finish(timer.Report(accepted));
  return reactor;
}

absl::Status NotServed(telemetry::RpcMethod method) {
  return absl::UnimplementedError(absl::StrCat(telemetry::RpcMethodName(method), " is not served by this version"));
}

grpc::ServerUnaryReactor* Refuse(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                 grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(CallTimer(environment, method, *context, "").Report(status));
  return reactor;
}

}  // namespace densityd::rpc
