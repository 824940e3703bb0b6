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
};

struct SampleRpc {
  using Request = density::v1::SampleRequest;
  using Response = density::v1::SampleResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kSample;
};

struct InverseRpc {
  using Request = density::v1::InverseRequest;
  using Response = density::v1::InverseResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kInverse;
};

struct ForwardRpc {
  using Request = density::v1::ForwardRequest;
  using Response = density::v1::ForwardResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kForward;
};

struct ScoreRpc {
  using Request = density::v1::ScoreRequest;
  using Response = density::v1::ScoreResponse;
  static constexpr auto kMethod = telemetry::RpcMethod::kScore;
};

}  // namespace densityd::rpc
