// A call of rows with one request, which is received by leave of the worker's RowReads.
//
//   arrived -> (room for it?) -> read -> parsed, …
//
// gRPC would read the request of a unary method before it hands the call over. So these calls are served as streams of
// bytes, like control calls: on the wire that is the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "google/protobuf/message_lite.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "server/rpc/control_methods.h"
#include "server/rpc/row_reads.h"
#include "server/rpc/worker_call.h"

namespace densityd::rpc {

/// Where a call of rows is posted: for the method with this number, on this worker.
struct RowPosting {
  RowWorker* worker = nullptr;
  const ControlMethods* methods = nullptr;
  int method = 0;
};

class MessageCall : public WorkerCall, private RowReads::Read {
 protected:
  /// `held` counts the memory of the request.
  MessageCall(const RowPosting& posting, telemetry::RpcMethod method, Reservation& held);

  /// The request came; Take it.
  virtual void OnRequest() = 0;
  /// Ends the call, whose request did not come or may not.
  virtual void Answer(const absl::Status& status) = 0;
  /// Neither kArrived, kEnded nor kRead.
  virtual void OnOtherEvent(Event /*event*/) {}

  /// Parses the request, whose bytes are gone then. INVALID_ARGUMENT where it is none.
  template <typename Request>
  absl::Status Take(Request& request) {
    const bool parsed = grpc::SerializationTraits<Request>::Deserialize(&bytes_, &request).ok();
    return parsed ? absl::OkStatus() : NoRequest(request);
  }

  template <typename Response>
  static grpc::ByteBuffer BytesOf(const Response& response) {
    grpc::ByteBuffer bytes;
    bool own = false;
    grpc::SerializationTraits<Response>::Serialize(response, &bytes, &own);
    return bytes;
  }
  /// End the call. It may be gone when they return, where nobody else holds it.
  void FinishWith(const grpc::ByteBuffer& response);
  void FinishWith(const grpc::Status& error);

  const RowPosting& posting() const { return posting_; }

  /// When the caller gives up. gRPC begins to count a call's time when it reads the call: what this may have lain
  /// unread while the worker computed is taken off.
  absl::Time CallersDeadline() const { return Deadline() - unseen_; }

 private:
  static absl::Status NoRequest(const google::protobuf::MessageLite& request);

  void Request(Tag* arrived) final;
  void Begin() final;
  void OnEvent(Event event, bool ok) final;
  void OnRead(bool ok);
  /// What is wrong with a request of `bytes` bytes that came, if anything.
  absl::Status CheckRead(bool ok, size_t bytes);

  // RowReads::Read
  void Start() final;
  absl::Status MayComeLater() final;
  uint64_t sender() const final;
  void OnRefused(const absl::Status& status) final;

  const RowPosting posting_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer bytes_;
  absl::Duration unseen_;
  std::shared_ptr<PostedCall> waiting_;  ///< this, until it is read
  bool refused_ = false;                 ///< while the read is outstanding
};

}  // namespace densityd::rpc
