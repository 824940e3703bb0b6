#include "server/rpc/estimator_service.h"

#include "server/rpc/explain_call.h"
#include "server/rpc/log_prob_stream.h"
#include "server/rpc/row_call.h"
#include "server/rpc/row_rpcs.h"
#include "server/rpc/sample_stream.h"

namespace densityd::rpc {

using telemetry::RpcMethod;

void EstimatorService::PostRowCalls(RowWorker& worker, int depth) {
  for (int i = 0; i < depth; ++i) {
    worker.Post(std::make_shared<RowCall<EstimatorService, LogProbRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<RowCall<EstimatorService, SampleRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<RowCall<EstimatorService, InverseRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<RowCall<EstimatorService, ForwardRpc>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<ExplainCall<EstimatorService>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<SampleStream<EstimatorService>>(worker, *this, worker.queue()));
    worker.Post(std::make_shared<LogProbStream<EstimatorService>>(worker, *this, worker.queue()));
  }
}

grpc::ServerUnaryReactor* EstimatorService::Train(grpc::CallbackServerContext* context,
                                                  const density::v1::TrainRequest* request,
                                                  density::v1::Training* response) {
  return AnswerWith(*environment_, RpcMethod::kTrain, context, request->model(), response,
                    [this, request]() -> absl::StatusOr<density::v1::Training> {
                      auto status = CheckMessageBytes(request->ByteSizeLong(), environment_->max_message_bytes);
                      if (!status.ok()) return status;
                      return trainings_->Start(*request);
                    });
}

grpc::ServerUnaryReactor* EstimatorService::Score(grpc::CallbackServerContext* context,
                                                  const density::v1::ScoreRequest* /*request*/,
                                                  density::v1::ScoreResponse* /*response*/) {
  return Refuse(*environment_, RpcMethod::kScore, context, NotServed(RpcMethod::kScore));
}

}  // namespace densityd::rpc
