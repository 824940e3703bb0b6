// Watch: follows a training across lost connections.
#include <limits>
#include <utility>

#include "client/lib/client_impl.h"
#include "densityd/client.h"

namespace densityd {

namespace v1 = density::v1;

namespace {

bool IsFinal(v1::TrainingState state) {
  return state == v1::SUCCEEDED || state == v1::FAILED || state == v1::CANCELLED;
}

/// What a watch has seen, across connections.
struct Seen {
  v1::Training last;      ///< the last state of the last stream that had one
  bool any = false;       ///< whether `last` is set
  bool finished = false;  ///< whether the watch is over: a final state, or the caller has seen enough
};

/// The policy for a training that has been seen.
RetryPolicy PatientPolicy(RetryPolicy policy) {
  // Whoever asked for no repetition gets none.
  if (policy.max_attempts <= 1 || policy.budget <= absl::ZeroDuration()) return policy;
  policy.max_attempts = std::numeric_limits<int>::max();
  policy.budget = policy.watch_budget;
  return policy;
}

/// Reads one stream to its end, and calls `on_training` for what is new.
absl::Status ReadStream(grpc::ClientReader<v1::Training>& reader, grpc::ClientContext& context,
                        const Client::OnTraining& on_training, client_internal::Backoff& backoff, Seen& seen) {
  v1::Training training;
  bool is_first = true;
  while (reader.Read(&training)) {
    // After a reconnection the server may begin with a state that was reported already. One from before that means that
    // the server knows less than it did, as after its root was restored: what it says now holds.
    const bool is_known = seen.any && (is_first ? training.revision() == seen.last.revision()
                                                : training.revision() <= seen.last.revision());
    is_first = false;
    if (is_known && !IsFinal(training.state())) continue;
    backoff.Reset();
    seen.any = true;
    seen.last = std::move(training);
    const bool go_on = on_training == nullptr || on_training(seen.last);
    seen.finished = !go_on || IsFinal(seen.last.state());
    if (!go_on) context.TryCancel();
  }
  return client_internal::FromGrpc(reader.Finish());
}

}  // namespace

absl::StatusOr<v1::Training> Client::Watch(std::string_view id, const OnTraining& on_training,
                                           const CallOptions& options) const {
  const absl::Time deadline = impl_->environment->Now() + options.timeout.value_or(absl::InfiniteDuration());
  v1::WatchTrainingRequest request;
  request.set_id(std::string(id));
  client_internal::Backoff backoff = impl_->NewBackoff(deadline);
  Seen seen;
  bool is_patient = false;
  while (true) {
    grpc::ClientContext context;
    impl_->Prepare(context, deadline);
    const std::unique_ptr<grpc::ClientReader<v1::Training>> reader = impl_->trainings->Watch(&context, request);
    absl::Status status = ReadStream(*reader, context, on_training, backoff, seen);
    if (seen.finished) return seen.last;
    if (seen.any) request.set_after_revision(seen.last.revision());
    if (seen.any && !is_patient) {
      // The training is there, and goes on when its server is back.
      is_patient = true;
      backoff = impl_->NewBackoff(deadline, PatientPolicy(impl_->options.retry));
    }
    // A stream that ends well before a final state is a server that drains; one that nobody here cancelled is a server
    // that stopped waiting for its calls.
    if (status.ok() || absl::IsCancelled(status))
      status = absl::UnavailableError("the server ended the watch before the training ended");
    const std::optional<absl::Duration> wait = backoff.Next(status);
    if (!wait.has_value()) return impl_->Explain(backoff.Exhausted(status));
    impl_->environment->Sleep(*wait);
  }
}

}  // namespace densityd
