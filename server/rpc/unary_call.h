// A control call with one message each way.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/rpc/control.h"
#include "server/rpc/control_call.h"
#include "server/rpc/control_memory.h"
#include "server/rpc/control_methods.h"
#include "server/telemetry/rpc_method.h"

namespace densityd::rpc {

/// Reads the request; parses, works and answers on the executor.
class UnaryCallBase : public ControlCall {
 protected:
  UnaryCallBase(const ControlPosting& posting, const ControlEnvironment& environment, telemetry::RpcMethod method,
                Executor::Kind kind)
      : ControlCall(posting), environment_(&environment), kind_(kind), timer_(environment, method, context()) {}

  /// Takes the request, and ends the call. On the executor.
  virtual void Answer() = 0;

  CallTimer& timer() { return timer_; }

 private:
  void Fail(const absl::Status& status);
  /// Whether the request that came may wait for its turn.
  absl::Status CheckRequest();
  void Begin() final;
  void OnRead(bool ok) final;
  void OnCancelled() final {}  // What was asked for is done, whether its caller still waits or not.

  const ControlEnvironment* environment_;
  const Executor::Kind kind_;
  CallTimer timer_;
  ControlMemory::Share memory_;
};

/// `work` outlives the calls.
template <typename RequestType, typename ResponseType>
class UnaryCall final : public UnaryCallBase {
 public:
  using Work = std::function<absl::StatusOr<ResponseType>(const RequestType& request, const Caller& caller)>;

  UnaryCall(const ControlPosting& posting, const ControlEnvironment& environment, telemetry::RpcMethod method,
            Executor::Kind kind, const Work& work)
      : UnaryCallBase(posting, environment, method, kind), work_(&work) {}

 private:
  void Answer() override {
    const absl::StatusOr<ResponseType> response = Do();
    if (response.ok()) timer().SetMade(NameOf(*response));
    const grpc::Status told = timer().Report(response.status());
    if (told.ok()) return FinishWith(*response);
    Finish(told);
  }

  absl::StatusOr<ResponseType> Do() {
    RequestType request;
    if (auto status = Take(request); !status.ok()) return status;
    timer().SetSubject(SubjectOf(request));
    if (auto status = timer().Admit(); !status.ok()) return status;
    return (*work_)(request, timer().caller());
  }

  const Work* work_;
};

/// A service of control calls. `Service` as in WithControlMethods.
template <typename Service>
class ControlService : public WithControlMethods<Service> {
 protected:
  explicit ControlService(const ControlEnvironment& environment) : environment_(&environment) {}

  const ControlEnvironment& environment() const { return *environment_; }

  /// Serves a unary RPC: `work`, of `kind`, does what it asks for, for a caller who was let in.
  template <typename Owner, typename RequestType, typename ResponseType>
  void Serve(telemetry::RpcMethod method,
             absl::StatusOr<ResponseType> (Owner::*work)(const RequestType& request, const Caller& caller),
             Executor::Kind kind = Executor::Kind::kShort) {
    using Call = UnaryCall<RequestType, ResponseType>;
    auto bound = [owner = static_cast<Owner*>(this), work](const RequestType& request, const Caller& caller) {
      return (owner->*work)(request, caller);
    };
    AddCalls(method, [this, method, kind, work = typename Call::Work(bound)](const ControlPosting& posting) {
      return std::make_shared<Call>(posting, *environment_, method, kind, work);
    });
  }

  /// Serves an RPC by calls that `maker` makes.
  void AddCalls(telemetry::RpcMethod method, ControlMethods::Maker maker) {
    this->AddControlMethod(NameOf(method), std::move(maker));
  }

  /// The full name of an RPC.
  static std::string NameOf(telemetry::RpcMethod method) {
    return absl::StrCat("density.v1.", absl::StrReplaceAll(telemetry::RpcMethodName(method), {{"/", "."}}));
  }

 private:
  const ControlEnvironment* environment_;
};

}  // namespace densityd::rpc
