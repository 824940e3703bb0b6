// One Explain call: rounds of points whose log p is computed like any other rows, and a little arithmetic in between.
//
//   arrived -> [terms of the chain rule] -> (points queued -> computed -> taken)* -> answered
//
// To the scheduler each round is a request of the same caller, so that others get their share. Done of a round may run
// on any worker; an alarm brings the call back to its own, whose queue the next round goes to.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "density/v1/density_estimator.pb.h"
#include "grpcpp/alarm.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "server/rpc/explain_request.h"
#include "server/rpc/status.h"
#include "server/rpc/worker_call.h"
#include "server/serving/row_job.h"

namespace densityd::rpc {

class ExplainCallBase : public WorkerCall, public serving::RowJob {
 public:
  using WorkerCall::WorkerCall;

  void Done(absl::Status status) final;

 protected:
  virtual void Finish(const grpc::Status& status, Tag* finished) = 0;
  std::string_view model_name() const final { return request_.model(); }

  density::v1::ExplainRequest request_;
  density::v1::ExplainResponse response_;

 private:
  void Begin() final;
  void OnCancelled() final { cancelled.store(true, std::memory_order_relaxed); }
  void OnEvent(Event event, bool ok) final;
  absl::Status Prepare();
  /// Queues the rows for their terms of the chain rule.
  absl::Status QueueChain();
  /// Queues the points that the explainer wants.
  absl::Status QueuePoints();
  /// Queues `span` for `wanted`, `held` numbers being in memory for it.
  absl::Status Queue(engine::Op wanted, size_t held);
  /// Takes what was computed, and goes on.
  absl::Status Continue();
  void Answer(const absl::Status& status);

  ExplainRequest explain_;
  std::vector<double> log_prob_;  ///< of the points
  std::vector<double> context_;   ///< of each row, (N, C), where rows differ in it
  std::vector<double> contexts_;  ///< of each point
  grpc::Alarm alarm_;
  absl::Status computed_;
  std::shared_ptr<PostedCall> queued_;  ///< this, while the scheduler has it
};

/// `Service` has RequestExplain.
template <typename Service>
class ExplainCall final : public ExplainCallBase {
 public:
  ExplainCall(RowWorker& worker, Service& service, grpc::ServerCompletionQueue& queue)
      : ExplainCallBase(worker, telemetry::RpcMethod::kExplain),
        service_(&service),
        queue_(&queue),
        writer_(&context()) {}

 private:
  void Request(Tag* arrived) override {
    service_->RequestExplain(&context(), &request_, &writer_, queue_, queue_, arrived);
  }
  std::shared_ptr<PostedCall> Another() const override {
    return std::make_shared<ExplainCall>(worker(), *service_, *queue_);
  }
  void Finish(const grpc::Status& status, Tag* finished) override {
    if (status.ok()) {
      writer_.Finish(response_, status, finished);
    } else {
      writer_.FinishWithError(status, finished);
    }
  }

  Service* service_;
  grpc::ServerCompletionQueue* queue_;
  grpc::ServerAsyncResponseWriter<density::v1::ExplainResponse> writer_;
};

}  // namespace densityd::rpc
