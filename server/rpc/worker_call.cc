#include "server/rpc/worker_call.h"

#include <functional>
#include <string>
#include <utility>

#include "server/rpc/connection_table.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {
namespace {

/// A call without deadline says the year 2262; anything beyond this is none.
constexpr absl::Duration kLongestDeadline = absl::Hours(24 * 365);

std::string_view MetadataOf(const grpc::ServerContext& context, const char* key) {
  const auto entry = context.client_metadata().find(key);
  if (entry == context.client_metadata().end()) return {};
  return {entry->second.data(), entry->second.size()};
}

}  // namespace

const RowEnvironment& WorkerCall::environment() const { return worker().environment(); }

absl::Time WorkerCall::Deadline() const {
  const absl::Time deadline = absl::FromChrono(context().deadline());
  return deadline - arrival() > kLongestDeadline ? absl::InfiniteFuture() : deadline;
}

absl::Status WorkerCall::Admit(std::string_view model) const {
  const Authorizer* authorizer = environment().authorizer;
  return authorizer == nullptr ? absl::OkStatus() : authorizer->Admit(context(), method_, model).status;
}

uint64_t WorkerCall::Client() const { return ConnectionTable::KeyOf(context().peer()); }

void WorkerCall::Report(const absl::Status& status, uint64_t rows, Duration meaning) const {
  const absl::Duration duration = environment().clock->Now() - arrival();
  environment().metrics->OnRequest(worker().index(), method_, status.code(), duration);
  telemetry::AccessLog& log = *environment().access_log;
  if (!log.Wants(status, meaning == Duration::kTellsSlowness ? duration : absl::ZeroDuration())) return;
  log.Record({.method = method_,
              .status = status,
              .duration = duration,
              .model = model_name(),
              .rows = rows,
              .peer = context().peer(),
              .traceparent = MetadataOf(context(), "traceparent")});
}

}  // namespace densityd::rpc
