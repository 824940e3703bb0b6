// The row RPCs as types, for RowCall.
#pragma once

#include "density/v1/density_estimator.grpc.pb.h"
#include "density/v1/density_estimator.pb.h"
#include "server/telemetry/rpc_method.h"

namespace densityd::rpc {

struct LogProbRpc {
  using Request = density::v1::LogProbRequest;
  using Response = density::v1::LogProbResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kLogProb;
  template <typename Service, typename... Args>
  static void Receive(Service& service, Args... args) {
    service.RequestLogProb(args...);
  }
};

struct SampleRpc {
  using Request = density::v1::SampleRequest;
  using Response = density::v1::SampleResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kSample;
  template <typename Service, typename... Args>
  static void Receive(Service& service, Args... args) {
    service.RequestSample(args...);
  }
};

struct InverseRpc {
  using Request = density::v1::InverseRequest;
  using Response = density::v1::InverseResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kInverse;
  template <typename Service, typename... Args>
  static void Receive(Service& service, Args... args) {
    service.RequestInverse(args...);
  }
};

struct ForwardRpc {
  using Request = density::v1::ForwardRequest;
  using Response = density::v1::ForwardResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kForward;
  template <typename Service, typename... Args>
  static void Receive(Service& service, Args... args) {
    service.RequestForward(args...);
  }
};

struct ScoreRpc {
  using Request = density::v1::ScoreRequest;
  using Response = density::v1::ScoreResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kScore;
  template <typename Service, typename... Args>
  static void Receive(Service& service, Args... args) {
    service.RequestScore(args...);
  }
};

}  // namespace densityd::rpc
