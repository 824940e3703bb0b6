#include "server/rpc/message_call.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/rpc/address_key.h"
#include "server/rpc/row_request.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {

MessageCall::MessageCall(const RowPosting& posting, telemetry::RpcMethod method, Reservation& held)
    : WorkerCall(*posting.worker, method), Read(held), posting_(posting), stream_(&context()) {}

void MessageCall::Request(Tag* arrived) {
  posting_.methods->Request(posting_.method, context(), stream_, worker().queue(), arrived);
}

void MessageCall::Begin() {
  unseen_ = arrival() - std::min(arrival(), worker().unseen_since());
  absl::Status status = environment().scheduler->CheckAnyRoom();
  // Before Begin, which may Start it.
  waiting_ = shared_from_this();
  if (status.ok()) status = worker().reads().Begin(*this);
  if (status.ok()) return;
  const std::shared_ptr<PostedCall> self = std::move(waiting_);
  Answer(status);
}

void MessageCall::Start() {
  stream_.Read(&bytes_, Arm(Event::kRead));
  waiting_.reset();
}

void MessageCall::OnEvent(Event event, bool ok) {
  if (event == Event::kRead) return OnRead(ok);
  OnOtherEvent(event);
}

void MessageCall::OnRead(bool ok) {
  if (refused_) return bytes_.Clear();
  if (absl::Status status = CheckRead(ok, bytes_.Length()); !status.ok()) {
    bytes_.Clear();
    return Answer(status);
  }
  OnRequest();
}

absl::Status MessageCall::CheckRead(bool ok, size_t bytes) {
  absl::Status status = worker().reads().End(*this, ok ? bytes : 0);
  if (!ok) return absl::CancelledError("the call ended before its request");
  if (status.ok()) status = CheckMessageBytes(bytes, environment().limits.max_message_bytes);
  return status;
}

absl::Status MessageCall::MayComeLater() {
  const Authorizer* authorizer = environment().authorizer;
  return authorizer == nullptr ? absl::OkStatus() : authorizer->Authenticate(context()).status();
}

uint64_t MessageCall::sender() const { return absl::HashOf(AddressKey(context().peer())); }

void MessageCall::OnRefused(const absl::Status& status) {
  refused_ = true;
  Answer(status);
}

absl::Status MessageCall::NoRequest(const google::protobuf::MessageLite& request) {
  return absl::InvalidArgumentError(absl::StrCat("the message is no ", request.GetTypeName()));
}

void MessageCall::FinishWith(const grpc::ByteBuffer& response) {
  stream_.WriteAndFinish(response, grpc::WriteOptions(), grpc::Status::OK, Arm(Event::kFinished));
}

void MessageCall::FinishWith(const grpc::Status& error) { stream_.Finish(error, Arm(Event::kFinished)); }

}  // namespace densityd::rpc
