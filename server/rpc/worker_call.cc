#include "server/rpc/worker_call.h"

#include <functional>
#include <string>
#include <utility>

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

WorkerCall::WorkerCall(RowWorker& worker, telemetry::RpcMethod method) : worker_(&worker), method_(method) {
  for (size_t i = 0; i < kEvents; ++i) tags_[i].event = static_cast<Event>(i);
}

WorkerCall::~WorkerCall() {
  if (arrived_) worker_->OnCallGone();
}

const RowEnvironment& WorkerCall::environment() const { return worker_->environment(); }

WorkerCall::Tag* WorkerCall::Arm(Event event) {
  Tag& tag = tags_[static_cast<size_t>(event)];
  tag.call = shared_from_this();
  return &tag;
}

void WorkerCall::Post() {
  // This tag comes only for calls that arrive, so it is armed then.
  context_.AsyncNotifyWhenDone(&tags_[static_cast<size_t>(Event::kEnded)]);
  Request(Arm(Event::kArrived));
}

void WorkerCall::Handle(Tag& tag, bool ok) {
  const std::shared_ptr<WorkerCall> call = std::move(tag.call);
  switch (tag.event) {
    case Event::kArrived:
      if (!ok) break;
      call->arrival_ = call->environment().clock->Now();
      call->arrived_ = true;
      call->worker_->OnCallArrived(call->Another());
      call->Arm(Event::kEnded);
      call->Begin();
      break;
    case Event::kEnded:
      if (call->context_.IsCancelled()) call->OnCancelled();
      break;
    case Event::kFinished:
      break;
    default:
      call->OnEvent(tag.event, ok);
      break;
  }
}

absl::Time WorkerCall::Deadline() const {
  const absl::Time deadline = absl::FromChrono(context_.deadline());
  return deadline - arrival_ > kLongestDeadline ? absl::InfiniteFuture() : deadline;
}

absl::Status WorkerCall::Admit(std::string_view model) const {
  const Authorizer* authorizer = environment().authorizer;
  return authorizer == nullptr ? absl::OkStatus() : authorizer->Admit(context_, method_, model).status;
}

uint64_t WorkerCall::Client() const { return std::hash<std::string>()(context_.peer()); }

void WorkerCall::Report(const absl::Status& status, uint64_t rows, Duration meaning) const {
  const absl::Duration duration = environment().clock->Now() - arrival_;
  environment().metrics->OnRequest(worker_->index(), method_, status.code(), duration);
  telemetry::AccessLog& log = *environment().access_log;
  if (!log.Wants(status, meaning == Duration::kTellsSlowness ? duration : absl::ZeroDuration())) return;
  log.Record({.method = method_,
              .status = status,
              .duration = duration,
              .model = model_name(),
              .rows = rows,
              .peer = context_.peer(),
              .traceparent = MetadataOf(context_, "traceparent")});
}

}  // namespace densityd::rpc
