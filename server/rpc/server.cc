#include "server/rpc/server.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server_builder.h"
#include "server/base/errors.h"
#include "server/rpc/connection_metrics.h"
#include "server/rpc/import_stream.h"
#include "server/rpc/memory_shares.h"

namespace densityd::rpc {
namespace {

/// Calls of each row RPC that wait on each worker for a request to arrive.
constexpr int kPostedCalls = 32;
/// Of one client that is alone half of them.
constexpr size_t kMaxWaitingControlCalls = 2048;
/// What control requests may hold together, in messages of the largest size. Of one client that is alone half of them.
constexpr size_t kControlMessages = 8;

/// Calls that a connection may leave the server to deal with, as a multiple of those that it may have at once: one that
/// gives calls up may begin others before a worker, at a long tile, has looked at them.
constexpr int64_t kCallsInHand = 8;

/// What gRPC reads at once of a connection, and keeps ready for that: by default up to 4 MiB for each.
constexpr int kReadBytes = 128 << 10;

constexpr int kKeepaliveMilliseconds = 60'000;
constexpr int kMinPingIntervalMilliseconds = 10'000;
constexpr int kMaxMetadataBytes = 8 * 1024;
/// For the calls of a connection that ends because of its age.
constexpr int kAgeGraceMilliseconds = 300'000;
constexpr absl::Duration kProbeTimeout = absl::Seconds(5);

/// Of reflection, whose calls are the only ones with threads of their own: it is for people who look around.
constexpr int kReflectionThreads = 16;

/// The process has one default for reflection, set before the first server.
void EnableReflection() {
  static std::once_flag once;
  std::call_once(once, [] { grpc::reflection::InitProtoReflectionServerBuilderPlugin(); });
}

/// Up to twice the limit is received, so that it is refused with an error that names the flag instead of gRPC's own.
int ReceiveLimit(uint64_t max_message_bytes) {
  constexpr uint64_t kMax = std::numeric_limits<int>::max();
  return static_cast<int>(std::min(kMax, 2 * max_message_bytes));
}

/// As gRPC's integer argument; its largest value means never.
int Milliseconds(absl::Duration duration) {
  constexpr int64_t kMax = std::numeric_limits<int>::max();
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(duration), 1, kMax));
}

void AddLimits(const ServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(ReceiveLimit(options.limits.max_message_bytes));
  builder.SetMaxSendMessageSize(-1);  // Answers are bounded before they are computed.
  // gRPC unpacks a message as a whole before it looks at the limit: a megabyte could become a gigabyte.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);  // For FloodWatch.
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  // What is not read yet takes no more of a stream than RowReads counts.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kReadBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMilliseconds / 3);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kMinPingIntervalMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Milliseconds(options.handshake_timeout));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(options.max_connection_idle));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(options.max_connection_age));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kAgeGraceMilliseconds);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  builder.SetResourceQuota(grpc::ResourceQuota().SetMaxThreads(kReflectionThreads));
}

absl::Status CheckOptions(const ServerOptions& options) {
  if (options.workers < 1 || options.workers > 1024) return InvalidArgument("--workers", "must be within 1 … 1024");
  if (options.limits.max_message_bytes < 4096 || options.limits.max_message_bytes > std::numeric_limits<int>::max()) {
    return InvalidArgument("--max-message-bytes", "must be within 4096 … 2147483647");
  }
  if (options.limits.max_request_rows < 1) return InvalidArgument("--max-request-rows", "must be at least 1");
  if (options.max_uploads < 1) return InvalidArgument("--max-uploads", "must be at least 1");
  if (options.max_concurrent_streams < 1) return InvalidArgument("--max-concurrent-streams", "must be at least 1");
  return absl::OkStatus();
}

}  // namespace

Server::Server(const ServerOptions& options, const ServerParts& parts)
    : options_(options),
      parts_(parts),
      control_memory_(kControlMessages * options.limits.max_message_bytes, parts.memory),
      stream_memory_(
          static_cast<size_t>(options.max_uploads + ImportStream::kMostRunning) * options.limits.max_message_bytes,
          parts.memory),
      executor_(options.control_threads, kMaxWaitingControlCalls),
      scheduler_({.workers = options.workers,
                  .max_queued_rows = options.max_queued_rows,
                  .max_queued_bytes = options.max_queued_bytes - options.max_queued_bytes / kPartBeside,
                  .memory = parts.memory},
                 *parts.clock, parts.metrics, [this](int worker) { workers_[static_cast<size_t>(worker)]->Wake(); }),
      clients_(options.client_limits, !options.tls.client_ca.empty(), *parts.clock),
      row_environment_{.models = parts.models,
                       .scheduler = &scheduler_,
                       .metrics = parts.metrics,
                       .access_log = parts.access_log,
                       .clock = parts.clock,
                       .limits = options.limits,
                       .authorizer = parts.authorizer,
                       .clients = &clients_,
                       .message_patience = options.message_patience},
      control_environment_{.executor = &executor_,
                           .metrics = parts.metrics,
                           .access_log = parts.access_log,
                           .clock = parts.clock,
                           .max_message_bytes = options.limits.max_message_bytes,
                           .max_import_bytes = options.max_import_bytes,
                           .max_uploads = options.max_uploads,
                           .memory = &control_memory_,
                           .stream_memory = &stream_memory_,
                           .authorizer = parts.authorizer,
                           .clients = &clients_,
                           .audit_log = parts.audit_log,
                           .hidden_root = parts.hidden_root,
                           .replica = parts.trainings == nullptr},
      estimator_(parts.trainings, control_environment_),
      trainings_(parts.trainings, control_environment_),
      datasets_(parts.datasets, parts.trainings, control_environment_),
      models_(*parts.models, control_environment_),
      health_(*parts.health) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, const ServerParts& parts) {
  if (auto status = CheckOptions(options); !status.ok()) return status;
  auto server = std::unique_ptr<Server>(new Server(options, parts));
  if (auto status = server->Listen(); !status.ok()) return status;
  return server;
}

absl::Status Server::Listen() {
  EnableReflection();
  auto credentials = MakeCredentials(options_.tls, options_.address, options_.insecure_beyond_loopback);
  if (!credentials.ok()) return credentials.status();
  credentials_ = *std::move(credentials);
  grpc::ServerBuilder builder;
  AddLimits(options_, builder);
  auto acceptor = Acceptor::Open(options_.address, options_.connections);
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  external_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, credentials_);
  builder.RegisterService(&estimator_);
  builder.RegisterService(&trainings_);
  builder.RegisterService(&datasets_);
  builder.RegisterService(&models_);
  builder.RegisterService(&health_);
  for (int i = 0; i < options_.workers; ++i) {
    workers_.push_back(
        std::make_unique<RowWorker>(i, builder.AddCompletionQueue(), row_environment_, acceptor_->connections()));
  }
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return InternalError("gRPC did not start");
  parts_.health->Attach(parts_.models);
  StartWorkers();
  AddGauges();
  BeginToAccept();
  return absl::OkStatus();
}

void Server::StartWorkers() {
  for (const auto& worker : workers_) {
    estimator_.PostRowCalls(*worker, kPostedCalls);
    for (const ControlMethods* methods :
         std::initializer_list<const ControlMethods*>{&estimator_, &trainings_, &datasets_, &models_, &health_}) {
      methods->PostControlCalls(*worker);
    }
    threads_.emplace_back([&worker = *worker] { worker.Run(); });
  }
  stand_in_ = std::make_unique<StandIn>(workers_);
  memory_relief_ = std::make_unique<MemoryRelief>(scheduler_);
  const int64_t most_calls = kCallsInHand * int64_t{options_.max_concurrent_streams};
  flood_watch_ = std::make_unique<FloodWatch>(workers_, most_calls, [this](const std::string& peer) {
    if (!acceptor_->connections().HangUp(ConnectionTable::KeyOf(peer))) return false;
    acceptor_->counts()->flooded.fetch_add(1, std::memory_order_relaxed);
    return true;
  });
}

void Server::BeginToAccept() {
  acceptor_->Start([this](int listener, FileDescriptor connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = listener;
    parameters.fd = connection.Release();
    external_->HandleNewConnection(&parameters);
  });
  watch_ = std::make_unique<AcceptorWatch>([this] { return acceptor_->Probe(kProbeTimeout); }, options_.probe_interval,
                                           [this](bool reachable) {
                                             acceptor_->counts()->accepting = reachable;
                                             parts_.health->SetReachable(reachable);
                                           });
}

void Server::AddGauges() {
  gauges_.push_back(parts_.metrics->AddGauge("densityd_inflight_bytes",
                                             "Bytes of row requests and of their answers until these are sent.",
                                             [this] { return static_cast<double>(scheduler_.queued_bytes()); }));
  if (const MemoryBudget* memory = parts_.memory) {
    gauges_.push_back(parts_.metrics->AddGauge(
        "densityd_memory_bytes", "Memory that is counted: the process itself, models, requests, answers, uploads.",
        [memory] { return static_cast<double>(memory->used()); }));
    gauges_.push_back(parts_.metrics->AddGauge("densityd_memory_ceiling_bytes", "What that may be: --max-memory.",
                                               [memory] { return static_cast<double>(memory->ceiling()); }));
  }
  gauges_.push_back(parts_.metrics->AddGauge("densityd_connections", "Connections that are open.",
                                             [this] { return static_cast<double>(acceptor_->open()); }));
  parts_.metrics->AddSource(std::make_unique<ConnectionMetrics>(acceptor_->counts()));
  gauges_.push_back(parts_.metrics->AddGauge("densityd_inflight_rows", "Rows that wait or are computed.",
                                             [this] { return static_cast<double>(scheduler_.queued_rows()); }));
}

void Server::BeginLameDuck() { parts_.health->Stop(); }

void Server::Stop(absl::Duration timeout) {
  if (std::exchange(stopped_, true)) return;
  if (server_ != nullptr) {
    BeginLameDuck();
    trainings_.EndWatches();
    parts_.health->EndWatches();
    for (const auto& worker : workers_) worker->EndStreams();
    // Nobody connects any more, and gRPC is handed nothing, before it is told to end.
    watch_.reset();
    acceptor_->Stop();
    server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
  }
  for (const auto& worker : workers_) worker->Stop();
  flood_watch_.reset();
  // The workers go with their last call; the executor still answers those that it has.
  for (std::thread& thread : threads_) thread.join();
  stand_in_.reset();
  memory_relief_.reset();
  gauges_.clear();
  parts_.health->Detach();
  server_.reset();
}

Server::~Server() { Stop(absl::ZeroDuration()); }

}  // namespace densityd::rpc
