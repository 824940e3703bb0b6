// density.v1.DensityEstimator: row RPCs and their streams, and the control call Train, in one service.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "density/v1/density_estimator.grpc.pb.h"
#include "server/rpc/row_worker.h"
#include "server/rpc/unary_call.h"
#include "server/training/training_manager.h"

namespace densityd::rpc {

/// The generated class that has the streams of rows on the completion-queue API.
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
using EstimatorMethods = Chain<density::v1::DensityEstimator::WithAsyncMethod_StreamSample,
                               density::v1::DensityEstimator::WithAsyncMethod_StreamLogProb>::Service;

class EstimatorService final : public ControlService<EstimatorMethods> {
 public:
  EstimatorService(training::TrainingManager* trainings, const ControlEnvironment& environment);

  /// Posts calls of every row RPC on `worker`, `depth` of each. After the server was started.
  void PostRowCalls(RowWorker& worker, int depth);

 private:
  /// Serves an RPC of one request by calls of the class `Call`.
  template <typename Call>
  void ServeRows(telemetry::RpcMethod method);
  absl::StatusOr<density::v1::Training> DoTrain(const density::v1::TrainRequest& request, const Caller& caller);

  training::TrainingManager* trainings_;
  /// What posts a call of each RPC of one request.
  std::vector<std::function<void(RowWorker& worker)>> row_calls_;
};

}  // namespace densityd::rpc
