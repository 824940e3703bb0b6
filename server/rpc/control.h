// What all control RPCs share: they are measured, logged, let in and audited in one way, with one mapping of errors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "server/base/clock.h"
#include "server/base/hidden_root.h"
#include "server/base/memory_budget.h"
#include "server/rpc/audit_log.h"
#include "server/rpc/authorizer.h"
#include "server/rpc/clients.h"
#include "server/rpc/control_memory.h"
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
  int max_uploads = 16;
  ControlMemory* memory = nullptr;         ///< of requests that wait or are worked at
  MemoryBudget* stream_memory = nullptr;   ///< of messages of uploads and imports that are
  const Authorizer* authorizer = nullptr;  ///< null: everybody may do everything
  Clients* clients = nullptr;
  AuditLog* audit_log = nullptr;  ///< null: none
  HiddenRoot hidden_root = {};    ///< what callers are not told
  bool replica = false;           ///< another server owns the root
};

/// Measures one call, from its arrival to Report. Use while the call's context lives.
class CallTimer {
 public:
  CallTimer(const ControlEnvironment& environment, telemetry::RpcMethod method, const grpc::ServerContextBase& context)
      : environment_(&environment), method_(method), context_(&context) {}

  /// The call has arrived.
  void Begin() { arrival_ = environment_->clock->Now(); }
  /// The model, training or dataset that the call names, for the log: once that is known.
  void SetSubject(std::string subject) { subject_ = std::move(subject); }
  /// UNAUTHENTICATED where the caller's credentials are not good: before his message is read.
  absl::Status Authenticate();
  /// Whether the call is let in. To be asked once, before anything is looked up. The call counts as in flight
  /// until it is reported.
  absl::Status Admit();
  /// Who calls: after Admit.
  const Caller& caller() const { return caller_; }
  /// Whose turn it is on the executor: after Authenticate or Admit.
  uint64_t client() const { return environment_->clients->Of(*context_, context_->peer(), caller_).id; }
  /// What came of the call, such as "power@3", for the audit log.
  void SetMade(std::string made) { made_ = std::move(made); }

  /// Counts the call and, where it failed or was slow, logs it; where it changed something, or its caller may not, it
  /// is audited. Returns what the caller is to be told.
  grpc::Status Report(const absl::Status& status);
  /// The same for a stream, whose length says nothing: it is logged only where it failed.
  grpc::Status ReportStream(const absl::Status& status);

 private:
  absl::Status CheckCaller();
  void Log(const absl::Status& status, absl::Duration duration) const;
  grpc::Status End(const absl::Status& status);

  const ControlEnvironment* environment_;
  telemetry::RpcMethod method_;
  const grpc::ServerContextBase* context_;
  std::string subject_;
  absl::Time arrival_;
  Caller caller_;
  bool known_ = false;  ///< the caller's credentials are good, or none are needed
  std::string made_;
  serving::CallInFlight in_flight_;
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

/// What a call is about, for the log: the model, training or dataset that its request names.
template <typename Request>
std::string SubjectOf(const Request& request) {
  if constexpr (requires { request.model(); }) {
    return request.model();
  } else if constexpr (requires { request.alias() + std::to_string(request.version()); }) {
    return absl::StrCat(request.name(), "@", request.alias(), " -> ", request.version());
  } else if constexpr (requires { request.alias(); }) {
    return absl::StrCat(request.name(), "@", request.alias());
  } else if constexpr (requires { request.name() + std::to_string(request.version()); }) {
    return absl::StrCat(request.name(), "@", request.version());
  } else if constexpr (requires { request.id(); }) {
    return request.id();
  } else {
    return "";
  }
}

}  // namespace densityd::rpc
