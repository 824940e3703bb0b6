// One call of a unary row RPC.
//
//   arrived -> (read, checked, queued, computed) -> answered
//                 └── its peer gave up: the rows that are not computed yet never will be
//
// Done may run on the worker that computed the last rows, which need not be the one that posted the call.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/message_call.h"
#include "server/rpc/row_request.h"
#include "server/serving/row_job.h"

namespace densityd::rpc {

class RowCallBase : public serving::RowJob, public MessageCall {
 public:
  void Done(absl::Status status) final;

 protected:
  RowCallBase(const RowPosting& posting, telemetry::RpcMethod method) : MessageCall(posting, method, memory) {}

  /// Takes the request that came.
  virtual absl::Status TakeRequest() = 0;
  /// The rows that are asked for, as the caller says.
  virtual uint64_t asked_rows() const = 0;
  /// Prepares the rows. The answer is in place when they have run.
  virtual absl::StatusOr<RowRequest> Prepare() = 0;
  /// The answer as it is sent.
  virtual grpc::ByteBuffer AnswerBytes() const = 0;
  /// Frees request and answer.
  virtual void DropMessages() = 0;

 private:
  void OnRequest() final;
  void OnCancelled() final { cancelled.store(true, std::memory_order_relaxed); }
  /// Lets the call in and queues its rows. On an error nothing is queued.
  absl::Status Queue();
  absl::Status PrepareAndSubmit();
  void Answer(const absl::Status& status) final;
  /// From now on only `left` bytes are in memory: frees the rest.
  void Shrink(size_t left);

  std::shared_ptr<PostedCall> queued_;  ///< this, while the scheduler has it: its peer may go meanwhile
  RowRequest rows_;
};

/// The RPC `Rpc` names its messages and its method:
///   using Request, Response; static constexpr telemetry::RpcMethod kMethod;
template <typename Rpc>
class RowCall final : public RowCallBase {
 public:
  explicit RowCall(const RowPosting& posting) : RowCallBase(posting, Rpc::kMethod) {}

 private:
  absl::Status TakeRequest() override { return Take(request_); }

  absl::StatusOr<RowRequest> Prepare() override {
    return PrepareRows(request_, *environment().models, environment().limits, response_);
  }

  uint64_t asked_rows() const override {
    if constexpr (requires { request_.rows().rows(); }) {
      return request_.rows().rows();
    } else {
      return request_.rows();
    }
  }

  grpc::ByteBuffer AnswerBytes() const override { return BytesOf(response_); }

  void DropMessages() override {
    typename Rpc::Request().Swap(&request_);
    typename Rpc::Response().Swap(&response_);
  }

  std::string_view model_name() const override { return request_.model(); }

  std::shared_ptr<PostedCall> Another() const override { return std::make_shared<RowCall>(posting()); }

  typename Rpc::Request request_;
  typename Rpc::Response response_;
};

}  // namespace densityd::rpc
