#include "server/rpc/unary_call.h"

#include "server/base/errors.h"
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
  if (environment_->memory->Reserve(message_bytes(), memory_)) return absl::OkStatus();
  return ResourceExhausted("control memory",
                           absl::StrCat("the control calls that wait hold ", environment_->memory->used(), " of ",
                                        environment_->memory->ceiling(), " bytes already"),
                           absl::Seconds(1));
}

void UnaryCallBase::Fail(const absl::Status& status) {
  DropMessage();
  Finish(timer_.Report(status));
}

}  // namespace densityd::rpc
