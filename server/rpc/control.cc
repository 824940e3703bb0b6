#include "server/rpc/control.h"

#include "absl/strings/str_cat.h"

namespace densityd::rpc {

CallTimer::CallTimer(const ControlEnvironment& environment, telemetry::RpcMethod method,
                     const grpc::CallbackServerContext& context, std::string subject)
    : environment_(&environment),
      method_(method),
      context_(&context),
      subject_(std::move(subject)),
      arrival_(environment.clock->Now()) {}

void CallTimer::Report(const absl::Status& status) const {
  const absl::Duration duration = environment_->clock->Now() - arrival_;
  environment_->metrics->OnRequest(environment_->metrics->shared_shard(), method_, status.code(), duration);
  if (environment_->access_log->Wants(status, duration)) Log(status, duration);
}

void CallTimer::ReportStream(const absl::Status& status) const {
  const absl::Duration duration = environment_->clock->Now() - arrival_;
  environment_->metrics->OnRequest(environment_->metrics->shared_shard(), method_, status.code(), duration);
  if (!status.ok()) Log(status, duration);
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
                                      grpc::CallbackServerContext* context, std::string subject,
                                      std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const CallTimer timer(environment, method, *context, std::move(subject));
  // Once Finish was called the context and the response may be gone.
  const absl::Status accepted = environment.executor->Run([timer, reactor, work = std::move(work)] {
    const absl::Status status = work();
    timer.Report(status);
    reactor->Finish(ToGrpcStatus(status));
  });
  if (!accepted.ok()) {
    timer.Report(accepted);
    reactor->Finish(ToGrpcStatus(accepted));
  }
  return reactor;
}

absl::Status NotServed(telemetry::RpcMethod method) {
  return absl::UnimplementedError(absl::StrCat(telemetry::RpcMethodName(method), " is not served by this version"));
}

grpc::ServerUnaryReactor* Refuse(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                 grpc::CallbackServerContext* context, const absl::Status& status) {
  CallTimer(environment, method, *context, "").Report(status);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

}  // namespace densityd::rpc
