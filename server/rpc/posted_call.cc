#include "server/rpc/posted_call.h"

#include <utility>

#include "server/rpc/row_worker.h"

namespace densityd::rpc {

PostedCall::PostedCall(RowWorker& worker, Kind kind) : worker_(&worker) {
  for (size_t i = 0; i < kEvents; ++i) {
    tags_[i].event = static_cast<Event>(i);
    tags_[i].kind = kind;
  }
}

PostedCall::~PostedCall() {
  if (posted_) worker_->OnCallGone();
}

PostedCall::Tag* PostedCall::Arm(Event event) {
  Tag& tag = tags_[static_cast<size_t>(event)];
  tag.call = shared_from_this();
  return &tag;
}

void PostedCall::Post() {
  posted_ = true;
  worker_->OnCallPosted();
  // This tag comes only for calls that arrive, so it is armed then.
  context_.AsyncNotifyWhenDone(&tags_[static_cast<size_t>(Event::kEnded)]);
  Request(Arm(Event::kArrived));
}

void PostedCall::Handle(Tag& tag, bool ok) {
  const std::shared_ptr<PostedCall> call = std::move(tag.call);
  switch (tag.event) {
    case Event::kArrived:
      if (!ok) break;
      call->arrival_ = call->worker_->environment().clock->Now();
      call->worker_->OnCallArrived(call->Another());
      call->Arm(Event::kEnded);
      call->Begin();
      break;
    case Event::kEnded:
      if (!call->context_.IsCancelled()) break;
      call->worker_->OnCallGivenUp();
      call->OnCancelled();
      break;
    default:
      call->OnEvent(tag.event, ok);
      break;
  }
}

}  // namespace densityd::rpc
