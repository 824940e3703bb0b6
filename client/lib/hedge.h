// A second attempt of a call that takes unusually long.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/lib/retry.h"
#include "client/lib/status.h"
#include "density/v1/density_estimator.grpc.pb.h"
#include "densityd/options.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"

namespace densityd::client_internal {

/// How many calls may be sent twice: a share of all. Thread-safe.
class HedgeBudget {
 public:
  explicit HedgeBudget(double max_share) : per_call_(static_cast<int64_t>(max_share * kOne)) {}

  /// A call begins.
  void OnCall();
  /// Takes one; false where there is none.
  bool Take();

 private:
  static constexpr int64_t kOne = 1'000'000;
  /// What calls without a second attempt save up: a burst of slow ones is the rule.
  static constexpr int64_t kMost = 10 * kOne;

  const int64_t per_call_;
  std::atomic<int64_t> left_{kOne};
};

using EstimatorStub = density::v1::DensityEstimator::Stub;

/// A call of the row method that takes `Request`, not started.
template <typename Request>
auto Prepare(EstimatorStub& stub, grpc::ClientContext* context, const Request& request, grpc::CompletionQueue* queue) {
  namespace v1 = density::v1;
  if constexpr (std::is_same_v<Request, v1::LogProbRequest>) return stub.PrepareAsyncLogProb(context, request, queue);
  if constexpr (std::is_same_v<Request, v1::InverseRequest>) return stub.PrepareAsyncInverse(context, request, queue);
  if constexpr (std::is_same_v<Request, v1::ForwardRequest>) return stub.PrepareAsyncForward(context, request, queue);
  if constexpr (std::is_same_v<Request, v1::ScoreRequest>) return stub.PrepareAsyncScore(context, request, queue);
  if constexpr (std::is_same_v<Request, v1::SampleRequest>) return stub.PrepareAsyncSample(context, request, queue);
  if constexpr (std::is_same_v<Request, v1::ExplainRequest>) return stub.PrepareAsyncExplain(context, request, queue);
}

/// Sends row calls a second time where that is due. Thread-safe.
class Hedger {
 public:
  /// `channel` is for second attempts.
  Hedger(const HedgePolicy& policy, const std::shared_ptr<grpc::Channel>& channel)
      : delay_(policy.delay), budget_(policy.max_share), stub_(density::v1::DensityEstimator::NewStub(channel)) {}

  /// One attempt through `first`, and perhaps a second one beside it, which `backoff` is told of. `prepare` gives each
  /// its deadline and credentials. An error is that of the attempt that ended last, or one that no attempt would pass.
  template <typename Request, typename Response>
  absl::Status Call(EstimatorStub& first, const Request& request, absl::FunctionRef<void(grpc::ClientContext&)> prepare,
                    Backoff& backoff, Response* response) {
    struct Attempt {
      grpc::ClientContext context;
      std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
      Response response;
      grpc::Status status;
    };
    grpc::CompletionQueue queue;
    std::array<Attempt, 2> attempts;
    const auto begin = [&](Attempt& attempt, EstimatorStub& stub) {
      prepare(attempt.context);
      attempt.reader = Prepare(stub, &attempt.context, request, &queue);
      attempt.reader->StartCall();
      attempt.reader->Finish(&attempt.response, &attempt.status, &attempt);
    };
    budget_.OnCall();
    begin(attempts[0], first);
    Attempt* decided = nullptr;
    size_t running = 1;
    for (bool alone = true; running > 0;) {
      void* tag = nullptr;
      bool ok = false;
      const absl::Time until = alone && decided == nullptr ? absl::Now() + delay_ : absl::InfiniteFuture();
      if (queue.AsyncNext(&tag, &ok, absl::ToChronoTime(until)) == grpc::CompletionQueue::TIMEOUT) {
        alone = false;
        if (!budget_.Take() || !backoff.TakeAttempt()) continue;
        begin(attempts[1], *stub_);
        ++running;
        continue;
      }
      auto& ended = *static_cast<Attempt*>(tag);
      --running;
      if (decided != nullptr) continue;
      if (running > 0 && !ended.status.ok() && MayPass(FromGrpc(ended.status))) continue;
      decided = &ended;
      if (running > 0) attempts[&ended == &attempts[0] ? 1 : 0].context.TryCancel();
    }
    queue.Shutdown();
    absl::Status status = FromGrpc(decided->status);
    if (status.ok()) *response = std::move(decided->response);
    return status;
  }

 private:
  const absl::Duration delay_;
  HedgeBudget budget_;
  const std::unique_ptr<EstimatorStub> stub_;
};

}  // namespace densityd::client_internal
