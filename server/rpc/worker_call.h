// What calls of the row service have in common, whether they carry one message or many.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/registry/model_manager.h"
#include "server/rpc/authorizer.h"
#include "server/rpc/clients.h"
#include "server/rpc/posted_call.h"
#include "server/rpc/row_request.h"
#include "server/serving/scheduler.h"
#include "server/telemetry/access_log.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

/// What all calls of the row service share. Everything outlives the calls.
struct RowEnvironment {
  const registry::ModelManager* models = nullptr;
  serving::Scheduler* scheduler = nullptr;
  telemetry::Metrics* metrics = nullptr;
  telemetry::AccessLog* access_log = nullptr;
  const Clock* clock = nullptr;
  RowLimits limits;
  const Authorizer* authorizer = nullptr;  ///< null: everybody may do everything
  Clients* clients = nullptr;
  absl::Duration message_patience;  ///< see ServerOptions
};

class WorkerCall : public PostedCall {
 public:
  WorkerCall(RowWorker& worker, telemetry::RpcMethod method) : PostedCall(worker, Kind::kRows), method_(method) {}

 protected:
  /// As the caller wrote it, for the log.
  virtual std::string_view model_name() const = 0;

  const RowEnvironment& environment() const;
  /// When the caller gives up; InfiniteFuture where it did not say.
  absl::Time Deadline() const;

  /// Whether the caller may ask this of `model` with the priority that it says, and have another call in flight: to be
  /// asked once, before anything is looked up. The call counts as in flight until Report.
  absl::Status Admit(std::string_view model);
  /// Who asks, for the scheduler: after Admit.
  uint64_t client_id() const { return client_id_; }
  /// Who goes first: after Admit.
  serving::Priority rows_priority() const { return priority_; }

  /// Where the answer goes, see ConnectionTable::KeyOf: after Admit.
  uint64_t connection() const { return connection_; }

  /// Takes rows of the client's quota: before memory is taken for them.
  absl::Status TakeRows(uint64_t rows) const;
  /// Counts rows that the call turned out to need.
  void ChargeRows(uint64_t rows) const;
  /// Gives back rows that were taken and will not be computed.
  void ReturnRows(uint64_t rows) const;

  enum class Duration {
    kTellsSlowness,  ///< the call is logged where it was slow
    kTellsNothing,   ///< of a stream: it is logged only where it failed
  };
  /// Counts and, where it is of interest, logs the call, which is no longer in flight then: its caller may send the
  /// next one as soon as this is answered. Before it is finished.
  void Report(const absl::Status& status, uint64_t rows, Duration meaning);

 private:
  const telemetry::RpcMethod method_;
  uint64_t connection_ = 0;
  uint64_t client_id_ = 0;
  serving::Priority priority_ = serving::Priority::kInteractive;
  serving::CallInFlight in_flight_;
};

}  // namespace densityd::rpc
