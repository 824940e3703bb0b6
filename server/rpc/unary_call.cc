#include "server/rpc/unary_call.h"

#include "server/rpc/row_request.h"

namespace densityd::rpc {

void UnaryCallBase::Begin() {
  timer_.Begin();
  if (const absl::Status status = timer_.Authenticate(); !status.ok()) return Fail(status);
  StartRead();
}

void UnaryCallBase::OnRead(bool ok) {
  if (!ok) return Fail(absl::CancelledError("the call ended before its request"));
  if (const absl::Status status = CheckRequest(); !status.ok()) return Fail(status);
  const absl::Status accepted =
      Run(*environment_->executor, {.client = timer_.client(), .kind = kind_}, [this] { Answer(); });
  if (!accepted.ok()) Fail(accepted);
}

absl::Status UnaryCallBase::CheckRequest() {
  if (auto status = CheckMessageBytes(message_bytes(), environment_->max_message_bytes); !status.ok()) return status;
  return environment_->memory->Reserve(timer_.client(), message_bytes(), memory_);
}

void UnaryCallBase::Fail(const absl::Status& status) {
  DropMessage();
  Finish(timer_.Report(status));
}

}  // namespace densityd::rpc
