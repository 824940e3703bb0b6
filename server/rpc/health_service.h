// grpc.health.v1.Health: Check and Watch. Not measured, logged or authorized: whoever probes has no credentials.
#pragma once

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/control_methods.h"
#include "server/rpc/health.h"

namespace densityd::rpc {

/// `health` outlives the service.
class HealthService final : public WithControlMethods<grpc::health::v1::Health::Service> {
 public:
  explicit HealthService(Health& health);
};

}  // namespace densityd::rpc
