#include "server/rpc/estimator_service.h"

#include <memory>

#include "server/rpc/explain_call.h"
#include "server/rpc/log_prob_stream.h"
#include "server/rpc/row_call.h"
#include "server/rpc/row_rpcs.h"
#include "server/rpc/sample_stream.h"

namespace densityd::rpc {

using telemetry::RpcMethod;

EstimatorService::EstimatorService(training::TrainingManager* trainings, const ControlEnvironment& environment)
    : ControlService(environment), trainings_(trainings) {
  Serve(RpcMethod::kTrain, &EstimatorService::DoTrain);
}

void EstimatorService::PostRowCalls(RowWorker& worker, int depth) {
  for (int i = 0; i < depth; ++i) {
    worker.Post(std::make_shared<RowCall<EstimatorService, LogProbRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<RowCall<EstimatorService, SampleRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<RowCall<EstimatorService, InverseRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<RowCall<EstimatorService, ForwardRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<RowCall<EstimatorService, ScoreRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<ExplainCall<EstimatorService>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<SampleStream<EstimatorService>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<LogProbStream<EstimatorService>>(worker, *this, worker.queue()));
  }
}

absl::StatusOr<density::v1::Training> EstimatorService::DoTrain(const density::v1::TrainRequest& request,
                                                                const Caller& /*caller*/) {
  return trainings_->Start(request);
}

}  // namespace densityd::rpc
