// density.v1.DensityEstimator: row RPCs and streams on the completion-queue API, Train on the callback API, in one
// service.
#pragma once

#include <memory>

#include "density/v1/density_estimator.grpc.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/control.h"
#include "server/rpc/row_worker.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

/// The generated class that has each RPC on the API that serves it. An RPC left on the synchronous API would give the
/// server a pool of threads of its own.
template <template <class> class... Methods>
struct Chain;
template <template <class> class Method, template <class> class... Methods>
struct Chain<Method, Methods...> {
  using Service = Method<typename Chain<Methods...>::Service>;
};
template <>
struct Chain<> {
  using Service = density::v1::DensityEstimator::Service;
};
using EstimatorMethods = Chain<
    density::v1::DensityEstimator::WithAsyncMethod_LogProb, density::v1::DensityEstimator::WithAsyncMethod_Sample,
    density::v1::DensityEstimator::WithAsyncMethod_Inverse, density::v1::DensityEstimator::WithAsyncMethod_Forward,
    density::v1::DensityEstimator::WithAsyncMethod_StreamSample,
    density::v1::DensityEstimator::WithAsyncMethod_StreamLogProb,
    density::v1::DensityEstimator::WithCallbackMethod_Train, density::v1::DensityEstimator::WithCallbackMethod_Score,
    density::v1::DensityEstimator::WithAsyncMethod_Explain>::Service;

class EstimatorService final : public EstimatorMethods {
 public:
  EstimatorService(training::TrainingManager& trainings, const ControlEnvironment& environment)
      : trainings_(&trainings), environment_(&environment) {}

  /// Posts calls of every row RPC on `worker`, `depth` of each. After the server was started.
  void PostRowCalls(RowWorker& worker, int depth);

  grpc::ServerUnaryReactor* Train(grpc::CallbackServerContext* context, const density::v1::TrainRequest* request,
                                  density::v1::Training* response) override;

  // Declared, not served.
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context, const density::v1::ScoreRequest* request,
                                  density::v1::ScoreResponse* response) override;

 private:
  training::TrainingManager* trainings_;
  const ControlEnvironment* environment_;
};

}  // namespace densityd::rpc
