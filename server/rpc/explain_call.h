// One Explain call: rounds of points whose log p is computed like any other rows, and a little arithmetic in between.
//
//   arrived -> [terms of the chain rule] -> (points queued -> computed -> taken)* -> answered
//
// The first points are the rows themselves. Where log p is an estimate, they come with its standard error.
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
#include "server/rpc/explain_request.h"
#include "server/rpc/message_call.h"
#include "server/serving/row_job.h"

namespace densityd::rpc {

class ExplainCall final : public serving::RowJob, public MessageCall {
 public:
  explicit ExplainCall(const RowPosting& posting) : MessageCall(posting, telemetry::RpcMethod::kExplain, memory) {}

  void Done(absl::Status status) final;

 private:
  std::string_view model_name() const final { return request_.model(); }
  std::shared_ptr<PostedCall> Another() const final { return std::make_shared<ExplainCall>(posting()); }
  void OnRequest() final;
  void OnCancelled() final { cancelled.store(true, std::memory_order_relaxed); }
  void OnOtherEvent(Event event) final;
  absl::Status Prepare();
  /// Queues the rows for their terms of the chain rule.
  absl::Status QueueChain();
  /// Queues the points that the explainer wants.
  absl::Status QueuePoints();
  /// Queues `span` for `wanted`, `held` numbers being in memory for it.
  absl::Status Queue(engine::Op wanted, size_t held);
  /// Takes what was computed, and goes on.
  absl::Status Continue();
  void Answer(const absl::Status& status) final;

  density::v1::ExplainRequest request_;
  density::v1::ExplainResponse response_;
  ExplainRequest explain_;
  std::vector<double> log_prob_;  ///< of the points
  std::vector<double> errors_;    ///< of log p of the rows, where it is an estimate
  std::vector<double> context_;   ///< of each row, (N, C), where rows differ in it
  std::vector<double> contexts_;  ///< of each point
  grpc::Alarm alarm_;
  absl::Status computed_;
  std::shared_ptr<PostedCall> queued_;  ///< this, while the scheduler has it
};

}  // namespace densityd::rpc
