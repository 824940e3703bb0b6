// What the calls of the client share: channel, stubs, deadlines and repetition.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/lib/hedge.h"
#include "client/lib/retry.h"
#include "client/lib/retry_budget.h"
#include "client/lib/status.h"
#include "density/v1/datasets.grpc.pb.h"
#include "density/v1/density_estimator.grpc.pb.h"
#include "density/v1/model_registry.grpc.pb.h"
#include "density/v1/training.grpc.pb.h"
#include "densityd/client.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace densityd {

/// Thread-safe: all fields are constant after construction, and stubs may be shared.
struct Client::Impl {
  explicit Impl(ClientOptions client_options);

  /// Whether a call may be sent again after a failure that leaves open whether the server acted on it.
  enum class Repeat { kAllowed, kForbidden };

  /// The time at which a call that begins now ends.
  absl::Time Deadline(const std::optional<absl::Duration>& timeout) const;
  /// When to repeat a call that begins now. With `policy` in place of the client's.
  client_internal::Backoff NewBackoff(absl::Time deadline) const { return NewBackoff(deadline, options.retry); }
  client_internal::Backoff NewBackoff(absl::Time deadline, const RetryPolicy& policy) const {
    return client_internal::Backoff(policy, deadline, *environment, retry_budget.get());
  }
  /// `status` of a call, with what a caller needs to act on it: the address, or the option that limits messages.
  absl::Status Explain(const absl::Status& status) const;
  /// Waits until the channel is connected, within the retry budget. What stands in the way is reported by the call
  /// that follows.
  void AwaitConnection(absl::Time deadline) const;

  /// Calls a unary method of `stub`.
  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, absl::Time deadline, Repeat repeat, Response* response) const {
    const auto attempt = [&] {
      grpc::ClientContext context;
      Prepare(context, deadline);
      return client_internal::FromGrpc((stub.*method)(&context, request, response));
    };
    if (repeat == Repeat::kAllowed)
      return Explain(client_internal::Retry(NewBackoff(deadline), *environment,
                                            [&](client_internal::Backoff&) { return attempt(); }));
    AwaitConnection(deadline);
    return Explain(attempt());
  }

  /// Calls a unary method and returns its answer.
  template <typename Stub, typename Request, typename Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, const CallOptions& call, Repeat repeat) const {
    Response response;
    absl::Status status = Call(stub, method, request, Deadline(call.timeout), repeat, &response);
    if (!status.ok()) return status;
    return response;
  }

  /// Calls a row method, which may be sent again, and twice.
  template <typename Request, typename Response>
  absl::Status CallRows(grpc::Status (density::v1::DensityEstimator::Stub::*method)(grpc::ClientContext*,
                                                                                    const Request&, Response*),
                        const Request& request, absl::Time deadline, Response* response) const {
    if (hedger == nullptr) return Call(*estimator, method, request, deadline, Repeat::kAllowed, response);
    const auto attempt = [&](client_internal::Backoff& backoff) {
      const auto prepare = [&](grpc::ClientContext& context) { Prepare(context, deadline); };
      return hedger->Call(*estimator, request, prepare, backoff, response);
    };
    return Explain(client_internal::Retry(NewBackoff(deadline), *environment, attempt));
  }

  /// Gives a call its deadline, its caller's token, and its priority.
  void Prepare(grpc::ClientContext& context, absl::Time deadline) const;

  ClientOptions options;
  client_internal::RetryEnvironment* environment = &client_internal::RetryEnvironment::Real();
  std::unique_ptr<client_internal::RetryBudget> retry_budget;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<density::v1::DensityEstimator::Stub> estimator;
  std::unique_ptr<client_internal::Hedger> hedger;  ///< null: no call is sent twice
  std::unique_ptr<density::v1::Trainings::Stub> trainings;
  std::unique_ptr<density::v1::Datasets::Stub> datasets;
  std::unique_ptr<density::v1::ModelRegistry::Stub> registry;
};

}  // namespace densityd
