// The gRPC server: its services, its workers, its limits, and its end.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "server/base/clock.h"
#include "server/base/memory_budget.h"
#include "server/registry/model_manager.h"
#include "server/rpc/acceptor.h"
#include "server/rpc/acceptor_watch.h"
#include "server/rpc/clients.h"
#include "server/rpc/control.h"
#include "server/rpc/control_memory.h"
#include "server/rpc/credentials.h"
#include "server/rpc/datasets_service.h"
#include "server/rpc/estimator_service.h"
#include "server/rpc/executor.h"
#include "server/rpc/flood_watch.h"
#include "server/rpc/health.h"
#include "server/rpc/health_service.h"
#include "server/rpc/memory_relief.h"
#include "server/rpc/model_registry_service.h"
#include "server/rpc/row_worker.h"
#include "server/rpc/stand_in.h"
#include "server/rpc/trainings_service.h"
#include "server/serving/scheduler.h"
#include "server/telemetry/access_log.h"
#include "server/telemetry/metrics.h"

namespace densityd::rpc {

struct ServerOptions {
  std::string address = "127.0.0.1:50051";  ///< port 0 picks a free one
  TlsOptions tls;
  bool insecure_beyond_loopback = false;  ///< allow an address beyond this machine without TLS
  int workers = 1;                        ///< row workers, best one per core
  int control_threads = 4;
  RowLimits limits;
  uint64_t max_import_bytes = uint64_t{16} << 30;
  int max_uploads = 16;  ///< datasets that are uploaded at the same time
  size_t max_queued_rows = 4 << 20;
  size_t max_queued_bytes = size_t{2} << 30;  ///< a sixth of it is for what lies beside requests and answers
  serving::QuotaLimits client_limits;         ///< of clients without a quota of their own (Grant)
  int max_concurrent_streams = 256;           ///< calls at once on one connection
  ConnectionLimits connections;
  absl::Duration handshake_timeout = absl::Seconds(10);  ///< TLS and HTTP/2 together
  absl::Duration max_connection_idle = absl::Minutes(30);
  /// Connections are ended gently after this long, so that clients spread anew over servers.
  absl::Duration max_connection_age = absl::InfiniteDuration();
  /// How long a worker waits, before it computes, for the messages of calls whose headers have come. Zero: as long as a
  /// few looks take, enough unless another thread is kept from the connection. Tests that need to know what waits set
  /// it.
  absl::Duration message_patience = absl::ZeroDuration();
  absl::Duration probe_interval = absl::Seconds(10);  ///< between connections of the server to itself
};

/// What the server answers from. Everything outlives the server.
struct ServerParts {
  registry::ModelManager* models = nullptr;
  training::DatasetStore* datasets = nullptr;      ///< null: a replica, which has none and trains nothing
  training::TrainingManager* trainings = nullptr;  ///< null where `datasets` is
  telemetry::Metrics* metrics = nullptr;
  telemetry::AccessLog* access_log = nullptr;
  Health* health = nullptr;
  const Clock* clock = nullptr;
  const Authorizer* authorizer = nullptr;  ///< null: everybody may do everything
  AuditLog* audit_log = nullptr;           ///< null: none
  MemoryBudget* memory = nullptr;          ///< of which requests are a part; null: they have their own ceilings alone
  HiddenRoot hidden_root = {};             ///< what callers are not told
};

/// Thread-safe.
class Server {
 public:
  /// Listens and answers. INVALID_ARGUMENT and FAILED_PRECONDITION of the options; UNAVAILABLE where it cannot listen.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, const ServerParts& parts);

  /// Stops at once.
  ~Server();

  int port() const { return acceptor_->port(); }

  /// Tells health checks that this server goes; calls are still answered.
  void BeginLameDuck();

  /// Takes no more calls, and returns when those in flight have ended or `timeout` has passed; what is left then is
  /// cancelled. Streams of rows end after the chunks that are in work. Call once.
  void Stop(absl::Duration timeout);

 private:
  Server(const ServerOptions& options, const ServerParts& parts);
  absl::Status Listen();
  void StartWorkers();
  void AddGauges();
  void BeginToAccept();

  const ServerOptions options_;
  const ServerParts parts_;
  ControlMemory control_memory_;
  MemoryBudget stream_memory_;
  Executor executor_;
  serving::Scheduler scheduler_;
  Clients clients_;
  const RowEnvironment row_environment_;
  const ControlEnvironment control_environment_;
  EstimatorService estimator_;
  TrainingsService trainings_;
  DatasetsService datasets_;
  ModelRegistryService models_;
  HealthService health_;
  std::vector<std::unique_ptr<RowWorker>> workers_;
  std::unique_ptr<Acceptor> acceptor_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> external_;
  std::unique_ptr<AcceptorWatch> watch_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::thread> threads_;
  std::unique_ptr<StandIn> stand_in_;
  std::unique_ptr<FloodWatch> flood_watch_;
  std::unique_ptr<MemoryRelief> memory_relief_;
  std::vector<std::shared_ptr<void>> gauges_;
  bool stopped_ = false;
};

}  // namespace densityd::rpc
