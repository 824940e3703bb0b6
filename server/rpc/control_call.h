// One control call on a row worker's queue, whether it has one message each way or many.
//
// Its messages come and go as bytes: the worker only learns that something happened, and all that takes longer than
// passing that on, parsing too, is done on the executor. One thing happens at a time: who reads or writes does nothing
// else until OnRead or OnWritten, so that most calls need no lock.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <memory>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "server/rpc/executor.h"
#include "server/rpc/posted_call.h"

namespace densityd::rpc {

class ControlMethods;

/// Where a control call is posted: for the method with this number, on this worker.
struct ControlPosting {
  RowWorker* worker = nullptr;
  const ControlMethods* methods = nullptr;
  int method = 0;
};

class ControlCall : public PostedCall {
 public:
  explicit ControlCall(const ControlPosting& posting);

 protected:
  /// The caller's next message came, or (not ok) there are no more. On the worker's thread, as all that follow.
  virtual void OnRead(bool /*ok*/) {}
  /// What was written went, or (not ok) the caller is gone.
  virtual void OnWritten(bool /*ok*/) {}
  /// gRPC has no more use for the call, but for telling that it ended. Not ok: what was finished with did not go out.
  virtual void OnFinished(bool /*ok*/) {}

  /// Asks for the caller's next message.
  void StartRead();
  /// The message that came, which is gone then. INVALID_ARGUMENT where it is none, or longer than `max_bytes`.
  absl::Status Take(google::protobuf::MessageLite& message, size_t max_bytes = std::numeric_limits<size_t>::max());
  /// Bytes of the message that came, compressed by nobody (gRPC refuses that).
  size_t message_bytes() const { return message_.Length(); }
  /// Where the message that came, which should hold a name and little more, is long: INVALID_ARGUMENT, and it is gone.
  absl::Status CheckShort();
  /// Frees the message that came.
  void DropMessage() { message_.Clear(); }
  /// Writes a message. On an error the call fails as if the caller had gone.
  void StartWrite(const google::protobuf::MessageLite& message);
  /// Ends the call. It may be gone when this returns, where nobody else holds it.
  void Finish(const grpc::Status& status);
  /// Ends the call well with a last message.
  void FinishWith(const google::protobuf::MessageLite& message);

  /// Does `work` on the executor, holding the call. RESOURCE_EXHAUSTED where too much waits there.
  absl::Status Run(Executor& executor, Executor::Label label, std::function<void()> work);

 private:
  void Request(Tag* arrived) final;
  std::shared_ptr<PostedCall> Another() const final;
  void OnEvent(Event event, bool ok) final;

  const ControlPosting posting_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer message_;
};

}  // namespace densityd::rpc
