#include "server/rpc/control_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "grpcpp/support/proto_buffer_writer.h"
#include "server/base/errors.h"
#include "server/rpc/control_methods.h"
#include "server/rpc/row_worker.h"

namespace densityd::rpc {
namespace {

/// Pieces that a message is written in.
constexpr int kBlockBytes = 64 << 10;
constexpr size_t kMaxShortBytes = 16 << 10;

grpc::ByteBuffer BytesOf(const google::protobuf::MessageLite& message) {
  grpc::ByteBuffer bytes;
  grpc::ProtoBufferWriter writer(&bytes, kBlockBytes, static_cast<int>(message.ByteSizeLong()));
  message.SerializeToZeroCopyStream(&writer);
  return bytes;
}

}  // namespace

ControlCall::ControlCall(const ControlPosting& posting)
    : PostedCall(*posting.worker, Kind::kControl), posting_(posting), stream_(&context()) {}

void ControlCall::Request(Tag* arrived) {
  posting_.methods->Request(posting_.method, context(), stream_, worker().queue(), arrived);
}

std::shared_ptr<PostedCall> ControlCall::Another() const { return posting_.methods->Make(posting_); }

void ControlCall::OnEvent(Event event, bool ok) {
  if (event == Event::kRead) OnRead(ok);
  if (event == Event::kWritten) OnWritten(ok);
  if (event == Event::kFinished) OnFinished(ok);
}

void ControlCall::StartRead() { stream_.Read(&message_, Arm(Event::kRead)); }

absl::Status ControlCall::Take(google::protobuf::MessageLite& message, size_t max_bytes) {
  bool parsed = false;
  if (message_.Length() <= max_bytes) {
    grpc::ProtoBufferReader reader(&message_);
    parsed = reader.status().ok() && message.ParseFromZeroCopyStream(&reader);
  }
  message_.Clear();
  if (parsed) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the message is no ", message.GetTypeName()));
}

absl::Status ControlCall::CheckShort() {
  if (message_.Length() <= kMaxShortBytes) return absl::OkStatus();
  const size_t bytes = message_.Length();
  message_.Clear();
  return InvalidArgument("request", absl::StrCat("has ", bytes, " bytes; the limit of this call is ", kMaxShortBytes));
}

void ControlCall::StartWrite(const google::protobuf::MessageLite& message) {
  stream_.Write(BytesOf(message), Arm(Event::kWritten));
}

void ControlCall::Finish(const grpc::Status& status) { stream_.Finish(status, Arm(Event::kFinished)); }

void ControlCall::FinishWith(const google::protobuf::MessageLite& message) {
  stream_.WriteAndFinish(BytesOf(message), grpc::WriteOptions(), grpc::Status::OK, Arm(Event::kFinished));
}

absl::Status ControlCall::Run(Executor& executor, Executor::Label label, std::function<void()> work) {
  return executor.Run([self = shared_from_this(), work = std::move(work)] { work(); }, label);
}

}  // namespace densityd::rpc
