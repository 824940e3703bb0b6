// One call on the completion-queue API, from being posted until gRPC has no more use for it: what calls of the row
// service have in common, whether they carry one message or many.
//
//   posted -> arrived -> … -> finished
//                 └── its peer gave up, or its deadline passed
//
// Threads: the events of a call come to the worker that posted it. A call lives while an event is outstanding, or as
// long as somebody else holds it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "server/base/clock.h"
#include "server/registry/model_manager.h"
#include "server/rpc/authorizer.h"
#include "server/rpc/row_request.h"
#include "server/serving/scheduler.h"
#include "server/telemetry/access_log.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

class RowWorker;

/// What all calls of the row service share. Everything outlives the calls.
struct RowEnvironment {
  const registry::ModelManager* models = nullptr;
  serving::Scheduler* scheduler = nullptr;
  telemetry::Metrics* metrics = nullptr;
  telemetry::AccessLog* access_log = nullptr;
  const Clock* clock = nullptr;
  RowLimits limits;
  const Authorizer* authorizer = nullptr;  ///< null: everybody may do everything
};

class WorkerCall : public std::enable_shared_from_this<WorkerCall> {
 public:
  enum class Event {
    kArrived,
    kEnded,     ///< gRPC knows how the call ended; comes for every call that arrived
    kRead,      ///< streams: a message came, or (not ok) the caller has no more
    kWritten,   ///< streams: a message went, or (not ok) the caller is gone
    kFinished,  ///< the status went, with the answer of a call that has one
    kAlarm,
  };
  static constexpr size_t kEvents = 6;

  /// What a completion queue hands back. Holds its call alive while armed.
  struct Tag {
    Event event;
    std::shared_ptr<WorkerCall> call;
  };

  WorkerCall(RowWorker& worker, telemetry::RpcMethod method);
  virtual ~WorkerCall();
  WorkerCall(const WorkerCall&) = delete;
  WorkerCall& operator=(const WorkerCall&) = delete;

  /// Posts the call: it takes the next request of its RPC that this worker gets.
  void Post();

  /// Handles the event behind `tag`, which came with `ok`.
  static void Handle(Tag& tag, bool ok);

 protected:
  /// Asks gRPC for the next call of the RPC.
  virtual void Request(Tag* arrived) = 0;
  /// A call of the same kind, to take the place of this one.
  virtual std::shared_ptr<WorkerCall> Another() const = 0;
  /// The call has arrived.
  virtual void Begin() = 0;
  /// The peer gave up, or the deadline passed, before the call was finished.
  virtual void OnCancelled() = 0;
  /// kRead, kWritten and kAlarm.
  virtual void OnEvent(Event /*event*/, bool /*ok*/) {}
  /// As the caller wrote it, for the log.
  virtual std::string_view model_name() const = 0;

  RowWorker& worker() const { return *worker_; }
  const RowEnvironment& environment() const;
  grpc::ServerContext& context() { return context_; }
  absl::Time arrival() const { return arrival_; }
  /// When the caller gives up; InfiniteFuture where it did not say.
  absl::Time Deadline() const;

  /// Who asks: a connection. To the scheduler all calls of one are of one client.
  uint64_t Client() const;

  /// Whether the caller may ask this of `model`: to be asked before anything is looked up.
  absl::Status Admit(std::string_view model) const;

  /// The tag to give to gRPC for `event`, of which one may be outstanding.
  Tag* Arm(Event event);

  enum class Duration {
    kTellsSlowness,  ///< the call is logged where it was slow
    kTellsNothing,   ///< of a stream: it is logged only where it failed
  };
  /// Counts and, where it is of interest, logs the call. Before it is finished.
  void Report(const absl::Status& status, uint64_t rows, Duration meaning) const;

 private:
  grpc::ServerContext context_;
  RowWorker* worker_;
  const telemetry::RpcMethod method_;
  std::array<Tag, kEvents> tags_;
  bool arrived_ = false;
  absl::Time arrival_;
};

}  // namespace densityd::rpc
