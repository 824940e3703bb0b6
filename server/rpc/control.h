// What all control RPCs share: off the threads of gRPC, measured, logged, and with one mapping of errors.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/base/clock.h"
#include "server/rpc/executor.h"
#include "server/rpc/status.h"
#include "server/telemetry/access_log.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

/// What all control RPCs need. Everything outlives the calls.
struct ControlEnvironment {
  Executor* executor = nullptr;
  telemetry::Metrics* metrics = nullptr;
  telemetry::AccessLog* access_log = nullptr;
  const Clock* clock = nullptr;
  uint64_t max_message_bytes = uint64_t{64} << 20;
};

/// Measures one call, from its creation to Report. Use while the call's context lives.
class CallTimer {
 public:
  /// `subject`: the model, training or dataset that the call names, for the log.
  CallTimer(const ControlEnvironment& environment, telemetry::RpcMethod method,
            const grpc::CallbackServerContext& context, std::string subject);

  /// Counts and, where it failed or was slow, logs the call.
  void Report(const absl::Status& status) const;
  /// The same for a stream, whose length says nothing: it is logged only where it failed.
  void ReportStream(const absl::Status& status) const;

 private:
  void Log(const absl::Status& status, absl::Duration duration) const;

  const ControlEnvironment* environment_;
  telemetry::RpcMethod method_;
  const grpc::CallbackServerContext* context_;
  std::string subject_;
  absl::Time arrival_;
};

/// Runs `work` on the executor and answers the call with its status.
grpc::ServerUnaryReactor* AnswerUnary(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                      grpc::CallbackServerContext* context, std::string subject,
                                      std::function<absl::Status()> work);

/// The same for work that returns the answer.
template <typename Response, typename Work>
grpc::ServerUnaryReactor* AnswerWith(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                     grpc::CallbackServerContext* context, std::string subject, Response* response,
                                     Work work) {
  return AnswerUnary(environment, method, context, std::move(subject), [response, work = std::move(work)] {
    absl::StatusOr<Response> answer = work();
    if (!answer.ok()) return answer.status();
    *response = *std::move(answer);
    return absl::OkStatus();
  });
}

/// UNIMPLEMENTED for an RPC that is declared but not served.
absl::Status NotServed(telemetry::RpcMethod method);

/// Refuses a unary call with `status`.
grpc::ServerUnaryReactor* Refuse(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                 grpc::CallbackServerContext* context, const absl::Status& status);

/// A stream that is refused as soon as it begins. `Reactor` is the stream's gRPC reactor.
template <typename Reactor>
class RefusedStream final : public Reactor {
 public:
  static Reactor* Begin(const ControlEnvironment& environment, telemetry::RpcMethod method,
                        grpc::CallbackServerContext* context, const absl::Status& status) {
    CallTimer(environment, method, *context, "").Report(status);
    auto stream = std::make_unique<RefusedStream>();
    RefusedStream* reactor = stream.get();
    reactor->self_ = std::move(stream);
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

  void OnDone() override { self_.reset(); }

 private:
  std::unique_ptr<RefusedStream> self_;
};

}  // namespace densityd::rpc
