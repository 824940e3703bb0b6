// One call of a row RPC on the completion-queue API, from being posted until gRPC has no more use for it.
//
//   posted -> arrived -> (checked, queued, computed) -> answered
//                 └── its peer gave up: the rows that are not computed yet never will be
//
// Threads: the events of a call come to the worker that posted it; Done may run on the worker that computed the last
// rows. A call lives while an event is outstanding or the scheduler has it.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/async_unary_call.h"
#include "server/registry/model_manager.h"
#include "server/rpc/row_request.h"
#include "server/rpc/status.h"
#include "server/serving/scheduler.h"
#include "server/telemetry/access_log.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

class RowWorker;

/// What all row calls share. Everything outlives the calls.
struct RowEnvironment {
  const registry::ModelManager* models = nullptr;
  serving::Scheduler* scheduler = nullptr;
  telemetry::Metrics* metrics = nullptr;
  telemetry::AccessLog* access_log = nullptr;
  const Clock* clock = nullptr;
  RowLimits limits;
};

class RowCallBase : public serving::RowJob, public std::enable_shared_from_this<RowCallBase> {
 public:
  enum class Event { kArrived, kAnswered, kEnded };

  /// What a completion queue hands back. Holds its call alive while armed.
  struct Tag {
    Event event;
    std::shared_ptr<RowCallBase> call;
  };

  RowCallBase(RowWorker& worker, telemetry::RpcMethod method) : worker_(&worker), method_(method) {}
  ~RowCallBase() override;

  /// Posts the call: it takes the next request of its RPC that this worker gets.
  void Post();

  /// Handles the event behind `tag`, which came with `ok`.
  static void Handle(Tag& tag, bool ok);

  void Done(absl::Status status) final;

 protected:
  virtual void Request(Tag* arrived) = 0;
  /// Prepares the rows. The answer is in place when they have run.
  virtual absl::StatusOr<RowRequest> Prepare() = 0;
  virtual void Finish(const grpc::Status& status, Tag* answered) = 0;
  virtual std::string_view model_name() const = 0;
  virtual std::unique_ptr<RowCallBase> Another() const = 0;

  const RowEnvironment& environment() const;
  RowWorker& worker() const { return *worker_; }

  grpc::ServerContext context_;

 private:
  void OnArrived();
  /// Prepares and queues. On an error nothing is queued.
  absl::Status Begin();
  void Answer(const absl::Status& status);
  void Report(const absl::Status& status) const;
  Tag* Arm(Event event);

  RowWorker* worker_;
  const telemetry::RpcMethod method_;
  std::array<Tag, 3> tags_{Tag{Event::kArrived, nullptr}, Tag{Event::kAnswered, nullptr}, Tag{Event::kEnded, nullptr}};
  std::shared_ptr<RowCallBase> queued_;  ///< this, while the scheduler has it: its peer may go meanwhile
  bool arrived_ = false;
  absl::Time arrival_;
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
      : RowCallBase(worker, Rpc::kMethod), service_(&service), queue_(&queue), writer_(&context_) {}

 private:
  void Request(Tag* arrived) override {
    Rpc::Receive(*service_, &context_, &request_, &writer_, queue_, queue_, arrived);
  }

  absl::StatusOr<RowRequest> Prepare() override {
    const RowEnvironment& shared = environment();
    auto status = CheckMessageBytes(request_.ByteSizeLong(), shared.limits.max_message_bytes);
    if (!status.ok()) return status;
    return PrepareRows(request_, *shared.models, shared.limits, response_);
  }

  void Finish(const grpc::Status& status, Tag* answered) override {
    if (status.ok()) {
      writer_.Finish(response_, status, answered);
    } else {
      writer_.FinishWithError(status, answered);
    }
  }

  std::string_view model_name() const override { return request_.model(); }

  std::unique_ptr<RowCallBase> Another() const override {
    return std::make_unique<RowCall>(worker(), *service_, *queue_);
  }

  Service* service_;
  grpc::ServerCompletionQueue* queue_;
  typename Rpc::Request request_;
  typename Rpc::Response response_;
  grpc::ServerAsyncResponseWriter<typename Rpc::Response> writer_;
};

}  // namespace densityd::rpc
