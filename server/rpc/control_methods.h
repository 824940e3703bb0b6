// The RPCs of a service that are served as control calls.
//
// gRPC's callback API would be the obvious choice for them, but its threads wait in a queue that polls the sockets:
// each time a row worker leaves its queue to compute, one of them is woken to poll in its place, and every request of
// rows then costs a hand-over between threads (measured: half the rate, twice the processor time).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "grpcpp/completion_queue.h"
#include "grpcpp/server_context.h"
#include "server/rpc/control_call.h"

namespace densityd::rpc {

/// Outlives its calls. Thread-safe once the server was started.
class ControlMethods {
 public:
  virtual ~ControlMethods() = default;

  /// Posts calls of every method on `worker`. After the server was started.
  void PostControlCalls(RowWorker& worker) const;

  /// Asks gRPC for the next call of a method.
  virtual void Request(int method, grpc::ServerContext& context, grpc::GenericServerAsyncReaderWriter& stream,
                       grpc::ServerCompletionQueue& queue, void* tag) const = 0;
  std::shared_ptr<ControlCall> Make(const ControlPosting& posting) const { return makers_.at(posting.method)(posting); }

 protected:
  using Maker = std::function<std::shared_ptr<ControlCall>(const ControlPosting& posting)>;

  std::map<int, Maker> makers_;  ///< by the method's number in its service
};

/// The number of a method of a generated service, by its name: "package.Service.Method".
int IndexOfMethod(const std::string& name);

/// `Service`: the generated class for the synchronous API, or one made of it that serves other methods in another way.
template <typename Service>
class WithControlMethods : public Service, public ControlMethods {
 public:
  void Request(int method, grpc::ServerContext& context, grpc::GenericServerAsyncReaderWriter& stream,
               grpc::ServerCompletionQueue& queue, void* tag) const final {
    // gRPC's function is not const, and yet thread-safe.
    auto& service = const_cast<WithControlMethods&>(*this);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
    service.RequestAsyncBidiStreaming(method, &context, &stream, &queue, &queue, tag);
  }

 protected:
  /// Serves "package.Service.Method" by calls that `maker` makes: as a stream of bytes, whatever it is to its callers.
  /// On the wire that is the same.
  void AddControlMethod(const std::string& name, Maker maker) {
    makers_.insert_or_assign(ServeAsBytes(name), std::move(maker));
  }

  /// Serves "package.Service.Method" as a stream of bytes, by calls that somebody posts. Returns its number.
  int ServeAsBytes(const std::string& name) {
    const int method = IndexOfMethod(name);
    this->MarkMethodStreamed(method, /*streamed_method=*/nullptr);
    this->MarkMethodRaw(method);
    return method;
  }
};

}  // namespace densityd::rpc
