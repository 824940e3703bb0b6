// density.v1.Trainings: follows and ends trainings.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "density/v1/training.grpc.pb.h"
#include "server/rpc/unary_call.h"
#include "server/rpc/watch_stream.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

class TrainingsService final : public ControlService<density::v1::Trainings::Service> {
 public:
  TrainingsService(training::TrainingManager* trainings, const ControlEnvironment& environment);

  /// Ends every open Watch with UNAVAILABLE, and those that begin later: an open stream would hold up the server's
  /// stop.
  void EndWatches() { watches_.EndAll(); }

 private:
  absl::StatusOr<density::v1::Training> DoGet(const density::v1::GetTrainingRequest& request, const Caller& caller);
  absl::StatusOr<density::v1::ListTrainingsResponse> DoList(const density::v1::ListTrainingsRequest& request,
                                                            const Caller& caller);
  absl::StatusOr<density::v1::Training> DoCancel(const density::v1::CancelTrainingRequest& request,
                                                 const Caller& caller);

  /// A training of a model that `caller` may touch. NOT_FOUND; PERMISSION_DENIED.
  absl::StatusOr<density::v1::Training> GetOwn(const Caller& caller, telemetry::RpcMethod method,
                                               const std::string& id) const;
  /// A training as callers see it.
  density::v1::Training Shown(density::v1::Training training) const;

  training::TrainingManager* trainings_;
  OpenWatches watches_;
};

}  // namespace densityd::rpc
