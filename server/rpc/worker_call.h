// What calls of the row service have in common, whether they carry one message or many.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/registry/model_manager.h"
#include "server/rpc/authorizer.h"
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

  /// Who asks: a connection. To the scheduler all calls of one are of one client.
  uint64_t Client() const;

  /// Whether the caller may ask this of `model`: to be asked before anything is looked up.
  absl::Status Admit(std::string_view model) const;

  enum class Duration {
    kTellsSlowness,  ///< the call is logged where it was slow
    kTellsNothing,   ///< of a stream: it is logged only where it failed
  };
  /// Counts and, where it is of interest, logs the call. Before it is finished.
  void Report(const absl::Status& status, uint64_t rows, Duration meaning) const;

 private:
  const telemetry::RpcMethod method_;
};

}  // namespace densityd::rpc
