#include "server/rpc/row_call.h"

#include <utility>

#include "absl/time/clock.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {
namespace {

/// A call without deadline says the year 2262; anything beyond this is none.
constexpr absl::Duration kLongestDeadline = absl::Hours(24);

absl::Time DeadlineOf(const grpc::ServerContext& context, absl::Time now) {
  const absl::Time deadline = absl::FromChrono(context.deadline());
  return deadline - now > kLongestDeadline ? absl::InfiniteFuture() : deadline;
}

std::string_view MetadataOf(const grpc::ServerContext& context, const char* key) {
  const auto entry = context.client_metadata().find(key);
  if (entry == context.client_metadata().end()) return {};
  return {entry->second.data(), entry->second.size()};
}

}  // namespace

RowCallBase::~RowCallBase() {
  if (arrived_) worker_->OnCallGone();
}

const RowEnvironment& RowCallBase::environment() const { return worker_->environment(); }

RowCallBase::Tag* RowCallBase::Arm(Event event) {
  Tag& tag = tags_[static_cast<size_t>(event)];
  tag.call = shared_from_this();
  return &tag;
}

void RowCallBase::Post() {
  // This tag comes only for calls that arrive, so it is armed then.
  context_.AsyncNotifyWhenDone(&tags_[static_cast<size_t>(Event::kEnded)]);
  Request(Arm(Event::kArrived));
}

void RowCallBase::Handle(Tag& tag, bool ok) {
  const std::shared_ptr<RowCallBase> call = std::move(tag.call);
  switch (tag.event) {
    case Event::kArrived:
      if (ok) call->OnArrived();
      break;
    case Event::kEnded:
      if (call->context_.IsCancelled()) call->cancelled.store(true, std::memory_order_relaxed);
      break;
    case Event::kAnswered:
      break;
  }
}

void RowCallBase::OnArrived() {
  arrival_ = environment().clock->Now();
  arrived_ = true;
  worker_->OnCallArrived(Another());
  Arm(Event::kEnded);
  const absl::Status status = Begin();
  if (!status.ok()) Answer(status);
}

absl::Status RowCallBase::Begin() {
  auto rows = Prepare();
  if (!rows.ok()) return rows.status();
  rows_ = *std::move(rows);
  plan = rows_.model->plan(rows_.precision);
  op = rows_.op;
  span = rows_.span;
  bytes = rows_.bytes;
  deadline = DeadlineOf(context_, arrival_);
  // Before Submit: another worker may run the rows, and call Done, before Submit returns.
  queued_ = shared_from_this();
  absl::Status submitted = environment().scheduler->Submit(worker_->index(), *this);
  if (!submitted.ok()) queued_.reset();
  return submitted;
}

void RowCallBase::Done(absl::Status status) {
  const std::shared_ptr<RowCallBase> self = std::move(queued_);
  if (status.ok()) {
    thread_local std::vector<double> scratch;
    CompleteRows(rows_, worker_->index(), scratch);
  }
  Answer(status);
}

void RowCallBase::Answer(const absl::Status& status) {
  // The event of the answer may be handled, and the call be gone, before Finish returns on this thread.
  const std::shared_ptr<RowCallBase> self = shared_from_this();
  Report(status);
  // The model's memory is given back with its last call, not with the last event of the last call.
  plan.reset();
  rows_.model.reset();
  Finish(ToGrpcStatus(status), Arm(Event::kAnswered));
}

void RowCallBase::Report(const absl::Status& status) const {
  const absl::Duration duration = environment().clock->Now() - arrival_;
  environment().metrics->OnRequest(worker_->index(), method_, status.code(), duration);
  telemetry::AccessLog& log = *environment().access_log;
  if (!log.Wants(status, duration)) return;
  log.Record({.method = method_,
              .status = status,
              .duration = duration,
              .model = model_name(),
              .rows = rows_.span.rows,
              .peer = context_.peer(),
              .traceparent = MetadataOf(context_, "traceparent")});
}

}  // namespace densityd::rpc
