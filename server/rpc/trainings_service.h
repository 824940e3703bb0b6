// density.v1.Trainings: follows and ends trainings.
#pragma once

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "density/v1/training.grpc.pb.h"
#include "server/rpc/control.h"
#include "server/rpc/watch_stream.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

class TrainingsService final : public density::v1::Trainings::CallbackService {
 public:
  TrainingsService(training::TrainingManager& trainings, const ControlEnvironment& environment)
      : trainings_(&trainings), environment_(&environment) {}

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const density::v1::GetTrainingRequest* request,
                                density::v1::Training* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const density::v1::ListTrainingsRequest* request,
                                 density::v1::ListTrainingsResponse* response) override;
  grpc::ServerWriteReactor<density::v1::Training>* Watch(grpc::CallbackServerContext* context,
                                                         const density::v1::WatchTrainingRequest* request) override;
  grpc::ServerUnaryReactor* Cancel(grpc::CallbackServerContext* context,
                                   const density::v1::CancelTrainingRequest* request,
                                   density::v1::Training* response) override;

  /// Ends every open Watch with UNAVAILABLE, and refuses new ones: an open stream would hold up the server's stop.
  void EndWatches();

 private:
  /// A training of a model that `caller` may touch. NOT_FOUND; PERMISSION_DENIED.
  absl::StatusOr<density::v1::Training> GetOwn(const Caller& caller, telemetry::RpcMethod method,
                                               const std::string& id) const;
  /// A training as callers see it.
  density::v1::Training Shown(density::v1::Training training) const;

  training::TrainingManager* trainings_;
  const ControlEnvironment* environment_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<WatchStream>> watches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace densityd::rpc
