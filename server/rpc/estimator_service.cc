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
  Serve(RpcMethod::kTrain, &EstimatorService::DoTrain, Executor::Kind::kLong);
  ServeRows<RowCall<LogProbRpc>>(LogProbRpc::kMethod);
  ServeRows<RowCall<SampleRpc>>(SampleRpc::kMethod);
  ServeRows<RowCall<InverseRpc>>(InverseRpc::kMethod);
  ServeRows<RowCall<ForwardRpc>>(ForwardRpc::kMethod);
  ServeRows<RowCall<ScoreRpc>>(ScoreRpc::kMethod);
  ServeRows<ExplainCall>(RpcMethod::kExplain);
}

template <typename Call>
void EstimatorService::ServeRows(RpcMethod method) {
  const int number = ServeAsBytes(NameOf(method));
  row_calls_.emplace_back([this, number](RowWorker& worker) {
    worker.Post(std::make_shared<Call>(RowPosting{&worker, this, number}));
  });
}

void EstimatorService::PostRowCalls(RowWorker& worker, int depth) {
  for (int i = 0; i < depth; ++i) {
    for (const auto& post : row_calls_) post(worker);
    worker.Post(std::make_shared<SampleStream<EstimatorService>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<LogProbStream<EstimatorService>>(worker, *this, worker.queue()));
  }
}

absl::StatusOr<density::v1::Training> EstimatorService::DoTrain(const density::v1::TrainRequest& request,
                                                                const Caller& /*caller*/) {
  return trainings_->Start(request);
}

}  // namespace densityd::rpc
