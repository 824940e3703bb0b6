// One call on the completion-queue API, from being posted until gRPC has no more use for it: what calls of rows and
// control calls have in common.
//
//   posted -> arrived -> … -> finished
//                 └── its peer gave up, or its deadline passed
//
// Threads: the events of a call come to the worker that posted it, or to the thread that stands in for it (StandIn),
// never to both at once. A call lives while an event is outstanding, or as long as somebody else holds it.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "absl/time/time.h"
#include "grpcpp/server_context.h"

namespace densityd::rpc {

class RowWorker;

class PostedCall : public std::enable_shared_from_this<PostedCall> {
 public:
  enum class Event {
    kArrived,
    kEnded,     ///< gRPC knows how the call ended; comes for every call that arrived
    kRead,      ///< a message came, or (not ok) the caller has no more
    kWritten,   ///< a message went, or (not ok) the caller is gone
    kFinished,  ///< the status went, with the answer of a call that has one
    kAlarm,
  };
  static constexpr size_t kEvents = 6;

  enum class Kind {
    kRows,     ///< its events are handled between tiles
    kControl,  ///< its events take microseconds, and do not wait for the end of a long tile
  };

  /// What a completion queue hands back. Holds its call alive while armed.
  struct Tag {
    Event event;
    Kind kind;
    std::shared_ptr<PostedCall> call;
  };

  PostedCall(RowWorker& worker, Kind kind);
  virtual ~PostedCall();
  PostedCall(const PostedCall&) = delete;
  PostedCall& operator=(const PostedCall&) = delete;

  /// Posts the call: it takes the next request of its RPC that this worker gets.
  void Post();

  /// Handles the event behind `tag`, which came with `ok`.
  static void Handle(Tag& tag, bool ok);

 protected:
  /// Asks gRPC for the next call of the RPC.
  virtual void Request(Tag* arrived) = 0;
  /// A call of the same kind, to take the place of this one.
  virtual std::shared_ptr<PostedCall> Another() const = 0;
  /// The call has arrived.
  virtual void Begin() = 0;
  /// The peer gave up, or the deadline passed, before the call was finished.
  virtual void OnCancelled() = 0;
  /// All but kArrived and kEnded.
  virtual void OnEvent(Event /*event*/, bool /*ok*/) {}

  RowWorker& worker() const { return *worker_; }
  grpc::ServerContext& context() { return context_; }
  const grpc::ServerContext& context() const { return context_; }
  absl::Time arrival() const { return arrival_; }

  /// The tag to give to gRPC for `event`, of which one may be outstanding.
  Tag* Arm(Event event);

 private:
  grpc::ServerContext context_;
  RowWorker* worker_;
  std::array<Tag, kEvents> tags_;
  bool posted_ = false;
  absl::Time arrival_;
};

}  // namespace densityd::rpc
