// What all control RPCs share: off the threads of gRPC, measured, logged, and with one mapping of errors.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/base/clock.h"
#include "server/base/hidden_root.h"
#include "server/rpc/audit_log.h"
#include "server/rpc/authorizer.h"
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
  uint64_t max_import_bytes = uint64_t{16} << 30;
  const Authorizer* authorizer = nullptr;  ///< null: everybody may do everything
  AuditLog* audit_log = nullptr;           ///< null: none
  HiddenRoot hidden_root = {};             ///< what callers are not told
};

/// Measures one call, from its creation to Report. Use while the call's context lives.
class CallTimer {
 public:
  /// `subject`: the model, training or dataset that the call names, for the log.
  CallTimer(const ControlEnvironment& environment, telemetry::RpcMethod method,
            const grpc::CallbackServerContext& context, std::string subject);

  /// Whether the call is let in. To be asked once, before anything else is done, and before copies are made.
  absl::Status Admit();
  /// For a stream that names its subject only later.
  void SetSubject(std::string subject) { subject_ = std::move(subject); }
  /// Who calls: after Admit.
  const Caller& caller() const { return caller_; }
  /// What came of the call, such as "power@3", for the audit log.
  void SetMade(std::string made) { made_ = std::move(made); }

  /// Counts the call and, where it failed or was slow, logs it; where it changed something, or its caller may not, it
  /// is audited. Returns what the caller is to be told.
  grpc::Status Report(const absl::Status& status) const;
  /// The same for a stream, whose length says nothing: it is logged only where it failed.
  grpc::Status ReportStream(const absl::Status& status) const;

 private:
  void Log(const absl::Status& status, absl::Duration duration) const;
  grpc::Status End(const absl::Status& status) const;

  const ControlEnvironment* environment_;
  telemetry::RpcMethod method_;
  const grpc::CallbackServerContext* context_;
  std::string subject_;
  absl::Time arrival_;
  Caller caller_;
  bool known_ = false;  ///< the caller's credentials are good, or none are needed
  std::string made_;
};

/// What a call made, for the audit log.
template <typename Response>
std::string NameOf(const Response& response) {
  if constexpr (requires { response.name() + std::to_string(response.version()); }) {
    return absl::StrCat(response.name(), "@", response.version());
  } else if constexpr (requires { response.id(); }) {
    return response.id();
  } else {
    return "";
  }
}

/// What a control RPC does: `timer` says who calls, and takes what came of it.
using ControlWork = std::function<absl::Status(CallTimer& timer)>;

/// Runs `work` on the executor, if its caller is let in, and answers the call with its status.
grpc::ServerUnaryReactor* AnswerUnary(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                      grpc::CallbackServerContext* context, std::string subject, ControlWork work);

/// The same for work that returns the answer and, if it likes, takes the caller.
template <typename Response, typename Work>
grpc::ServerUnaryReactor* AnswerWith(const ControlEnvironment& environment, telemetry::RpcMethod method,
                                     grpc::CallbackServerContext* context, std::string subject, Response* response,
                                     Work work) {
  return AnswerUnary(environment, method, context, std::move(subject),
                     [response, work = std::move(work)](CallTimer& timer) {
                       absl::StatusOr<Response> answer = [&] {
                         if constexpr (std::is_invocable_v<Work, const Caller&>)
                           return work(timer.caller());
                         else
                           return work();
                       }();
                       if (!answer.ok()) return answer.status();
                       *response = *std::move(answer);
                       timer.SetMade(NameOf(*response));
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
    const grpc::Status told = CallTimer(environment, method, *context, "").Report(status);
    auto stream = std::make_unique<RefusedStream>();
    RefusedStream* reactor = stream.get();
    reactor->self_ = std::move(stream);
    reactor->Finish(told);
    return reactor;
  }

  void OnDone() override { self_.reset(); }

 private:
  std::unique_ptr<RefusedStream> self_;
};

}  // namespace densityd::rpc
