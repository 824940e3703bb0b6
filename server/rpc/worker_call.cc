#include "server/rpc/worker_call.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/rpc/connection_table.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {
namespace {

/// Metadata that says whether somebody waits for the rows (docs/operations.md, "Priorities").
constexpr char kPriorityKey[] = "densityd-priority";

/// A call without deadline says the year 2262; anything beyond this is none.
constexpr absl::Duration kLongestDeadline = absl::Hours(24 * 365);

std::string_view MetadataOf(const grpc::ServerContext& context, const char* key) {
  const auto entry = context.client_metadata().find(key);
  if (entry == context.client_metadata().end()) return {};
  return {entry->second.data(), entry->second.size()};
}

/// What the caller asks for.
absl::StatusOr<serving::Priority> AskedPriority(const grpc::ServerContext& context) {
  const std::string_view asked = MetadataOf(context, kPriorityKey);
  if (asked.empty() || asked == "interactive") return serving::Priority::kInteractive;
  if (asked == "batch") return serving::Priority::kBatch;
  return InvalidArgument(kPriorityKey,
                         absl::StrCat("the metadata is ", Quote(asked), "; interactive or batch is known"));
}

}  // namespace

const RowEnvironment& WorkerCall::environment() const { return worker().environment(); }

absl::Time WorkerCall::Deadline() const {
  const absl::Time deadline = absl::FromChrono(context().deadline());
  return deadline - arrival() > kLongestDeadline ? absl::InfiniteFuture() : deadline;
}

absl::Status WorkerCall::Admit(std::string_view model) {
  Caller caller;
  if (const Authorizer* authorizer = environment().authorizer; authorizer != nullptr) {
    Admission admission = authorizer->Admit(context(), method_, model);
    if (!admission.status.ok()) return admission.status;
    caller = std::move(admission.caller);
  }
  const absl::StatusOr<serving::Priority> asked = AskedPriority(context());
  if (!asked.ok()) return asked.status();
  const bool always_batch = caller.grant() != nullptr && caller.grant()->always_batch;
  priority_ = always_batch ? serving::Priority::kBatch : *asked;
  const std::string peer = context().peer();
  connection_ = ConnectionTable::KeyOf(peer);
  Client client = environment().clients->Of(context(), peer, caller);
  client_id_ = client.id;
  absl::Status status = in_flight_.Begin(std::move(client.quota));
  if (!status.ok()) environment().metrics->OnRejected("client_calls");
  return status;
}

absl::Status WorkerCall::TakeRows(uint64_t rows) const {
  if (in_flight_.quota() == nullptr) return absl::OkStatus();
  absl::Status status = in_flight_.quota()->TakeRows(rows, environment().clock->Now());
  if (!status.ok()) environment().metrics->OnRejected("client_rows");
  return status;
}

void WorkerCall::ChargeRows(uint64_t rows) const {
  if (in_flight_.quota() != nullptr) in_flight_.quota()->ChargeRows(rows, environment().clock->Now());
}

void WorkerCall::ReturnRows(uint64_t rows) const {
  if (in_flight_.quota() != nullptr) in_flight_.quota()->ReturnRows(rows);
}

void WorkerCall::Report(const absl::Status& status, uint64_t rows, Duration meaning) {
  in_flight_ = serving::CallInFlight();
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
