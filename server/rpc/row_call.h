// One call of a unary row RPC.
//
//   arrived -> (checked, queued, computed) -> answered
//                 └── its peer gave up: the rows that are not computed yet never will be
//
// Done may run on the worker that computed the last rows, which need not be the one that posted the call.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "server/rpc/row_request.h"
#include "server/rpc/status.h"
#include "server/rpc/worker_call.h"

namespace densityd::rpc {

class RowCallBase : public WorkerCall, public serving::RowJob {
 public:
  using WorkerCall::WorkerCall;

  void Done(absl::Status status) final;

 protected:
  /// The rows that are asked for, as the caller says.
  virtual uint64_t asked_rows() const = 0;
  /// Prepares the rows. The answer is in place when they have run.
  virtual absl::StatusOr<RowRequest> Prepare() = 0;
  virtual void Finish(const grpc::Status& status, Tag* finished) = 0;

 private:
  void Begin() final;
  void OnCancelled() final { cancelled.store(true, std::memory_order_relaxed); }
  /// Lets the call in and queues its rows. On an error nothing is queued.
  absl::Status Queue();
  absl::Status PrepareAndSubmit();
  void Answer(const absl::Status& status);

  std::shared_ptr<PostedCall> queued_;  ///< this, while the scheduler has it: its peer may go meanwhile
  RowRequest rows_;
};

/// The RPC `Rpc` names its messages, its method and how to ask for the next request:
///   using Request, Response; static constexpr telemetry::RpcMethod kMethod;
///   static void Receive(Service&, grpc::ServerContext*, Request*, grpc::ServerAsyncResponseWriter<Response>*,
///                       grpc::ServerCompletionQueue*, void* tag);
template <typename Service, typename Rpc>
class RowCall final : public RowCallBase {
 public:
  RowCall(RowWorker& worker, Service& service, grpc::ServerCompletionQueue& queue)
      : RowCallBase(worker, Rpc::kMethod), service_(&service), queue_(&queue), writer_(&context()) {}

 private:
  void Request(Tag* arrived) override {
    Rpc::Receive(*service_, &context(), &request_, &writer_, queue_, queue_, arrived);
  }

  absl::StatusOr<RowRequest> Prepare() override {
    const RowEnvironment& shared = environment();
    auto status = CheckMessageBytes(request_.ByteSizeLong(), shared.limits.max_message_bytes);
    if (!status.ok()) return status;
    return PrepareRows(request_, *shared.models, shared.limits, response_);
  }

  uint64_t asked_rows() const override {
    if constexpr (requires { request_.rows().rows(); }) {
      return request_.rows().rows();
    } else {
      return request_.rows();
    }
  }

  void Finish(const grpc::Status& status, Tag* finished) override {
    if (status.ok()) {
      writer_.Finish(response_, status, finished);
    } else {
      writer_.FinishWithError(status, finished);
    }
  }

  std::string_view model_name() const override { return request_.model(); }

  std::shared_ptr<PostedCall> Another() const override {
    return std::make_shared<RowCall>(worker(), *service_, *queue_);
  }

  Service* service_;
  grpc::ServerCompletionQueue* queue_;
  typename Rpc::Request request_;
  typename Rpc::Response response_;
  grpc::ServerAsyncResponseWriter<typename Rpc::Response> writer_;
};

}  // namespace densityd::rpc
