#include "server/rpc/unary_call.h"

namespace densityd::rpc {

void UnaryCallBase::Begin() {
  timer_.Begin();
  StartRead();
}

void UnaryCallBase::OnRead(bool ok) {
  if (!ok) return Fail(absl::CancelledError("the call ended before its request"));
  const absl::Status accepted = Run(*environment_->executor, [this] { Answer(); });
  if (!accepted.ok()) Fail(accepted);
}

}  // namespace densityd::rpc
