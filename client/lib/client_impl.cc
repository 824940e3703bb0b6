#include "client/lib/client_impl.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/lib/channel.h"

namespace densityd {
namespace {

/// `status` with another message.
absl::Status WithMessage(const absl::Status& status, absl::string_view message) {
  absl::Status result(status.code(), message);
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { result.SetPayload(url, payload); });
  return result;
}

}  // namespace

Client::Impl::Impl(ClientOptions client_options)
    : options(std::move(client_options)),
      retry_budget(std::make_unique<client_internal::RetryBudget>(options.retry.max_share,
                                                                  options.retry.least_per_second, environment->Now())),
      channel(client_internal::MakeChannel(options)),
      estimator(density::v1::DensityEstimator::NewStub(channel)),
      trainings(density::v1::Trainings::NewStub(channel)),
      datasets(density::v1::Datasets::NewStub(channel)),
      registry(density::v1::ModelRegistry::NewStub(channel)) {
  if (options.hedge.delay == absl::InfiniteDuration()) return;
  // On the connection that stalls a second attempt would stall as well.
  hedger = std::make_unique<client_internal::Hedger>(options.hedge,
                                                     client_internal::MakeChannel(options, /*own_connections=*/true));
}

absl::Time Client::Impl::Deadline(const std::optional<absl::Duration>& timeout) const {
  return environment->Now() + timeout.value_or(options.timeout);
}

void Client::Impl::Prepare(grpc::ClientContext& context, absl::Time deadline) const {
  if (!options.token.empty()) context.AddMetadata("authorization", "Bearer " + options.token);
  if (options.priority == Priority::kBatch) context.AddMetadata("densityd-priority", "batch");
  if (deadline != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline));
}

absl::Status Client::Impl::Explain(const absl::Status& status) const {
  if (absl::IsUnavailable(status)) {
    return WithMessage(status, absl::StrCat("densityd at ", options.address, ": ", status.message()));
  }
  // gRPC's own refusals, at either end, begin like this.
  if (absl::IsResourceExhausted(status) && (absl::StrContains(status.message(), "message larger than max"))) {
    return WithMessage(
        status, absl::StrCat(status.message(), "; ClientOptions::max_message_bytes is ", options.max_message_bytes,
                             " and must be at most the server's --max-message-bytes"));
  }
  return status;
}

void Client::Impl::AwaitConnection(absl::Time deadline) const {
  if (channel->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY) return;
  const absl::Time until = std::min(deadline, absl::Now() + options.retry.budget);
  channel->WaitForConnected(absl::ToChronoTime(until));
}

}  // namespace densityd
