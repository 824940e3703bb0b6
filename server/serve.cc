#include "server/serve.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "server/base/clock.h"
#include "server/base/file_system.h"
#include "server/base/hidden_root.h"
#include "server/base/logging.h"
#include "server/base/machine_memory.h"
#include "server/base/memory_budget.h"
#include "server/base/strings.h"
#include "server/engine/compile.h"
#include "server/registry/model_manager.h"
#include "server/registry/model_store.h"
#include "server/registry/root_poll.h"
#include "server/root_lock.h"
#include "server/rpc/audit_log.h"
#include "server/rpc/authorizer.h"
#include "server/rpc/client_metrics.h"
#include "server/rpc/health.h"
#include "server/rpc/listen.h"
#include "server/rpc/memory_shares.h"
#include "server/rpc/served_model.h"
#include "server/rpc/server.h"
#include "server/signals.h"
#include "server/telemetry/access_log.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/metrics_endpoint.h"
#include "server/telemetry/process_metrics.h"
#include "server/telemetry/training_metrics.h"
#include "server/training/dataset_store.h"
#include "server/training/training_manager.h"
#include "server/version.h"

namespace densityd {
namespace {

/// For control calls that are still at work when calls were cancelled.
constexpr absl::Duration kControlGrace = absl::Seconds(5);
/// From SIGTERM on: what they have for a checkpoint (TrainingManagerOptions::stop_grace), and a little.
constexpr absl::Duration kTrainingsEnd = absl::Seconds(32);

absl::Status CheckMetricsAddress(const Flags& flags) {
  if (flags.metrics_address.empty() || flags.server.insecure_beyond_loopback ||
      rpc::IsLoopback(flags.metrics_address)) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("--metrics-address ", flags.metrics_address,
                   " can be reached from other machines, and metrics travel as plain text. Say ",
                   "--insecure-listen-beyond-loopback where that is meant"));
}

/// `address` with the port that was chosen; "" where nothing listens.
std::string WithPort(const std::string& address, int port) {
  if (absl::StartsWith(address, "unix:")) return address;
  return port == 0 ? "" : absl::StrCat(address.substr(0, address.rfind(':') + 1), port);
}

/// NOT_SERVING and lame duck.
void AnnounceStop(const Flags& flags, rpc::Server& server) {
  server.BeginLameDuck();
  Log(LogLevel::kInfo, "stopping",
      {{"lame_duck_seconds", flags.lame_duck_seconds}, {"drain_seconds", flags.drain_seconds}});
  absl::SleepFor(absl::Seconds(flags.lame_duck_seconds));
}

/// Ends the process well where what is left to do takes too long: a load, an import or a change that waits for a slow
/// disk cannot be called off. On disk it is all or nothing, whenever the process ends.
class LastResort {
 public:
  explicit LastResort(absl::Time at)
      : thread_([this, at] {
          if (stopped_.WaitForNotificationWithDeadline(at)) return;
          Log(LogLevel::kWarning, "stopped before all work had ended: as if it had not begun, or had ended");
          _exit(EXIT_SUCCESS);
        }) {}
  ~LastResort() {
    stopped_.Notify();
    thread_.join();
  }

 private:
  absl::Notification stopped_;
  std::thread thread_;
};

/// The engine with the choice of --plan.
rpc::PlanSource PlansOf(const Flags& flags, const registry::ModelStore& store) {
  const auto choice = flags.plan == "reference" ? engine::PlanChoice::kReference : engine::PlanChoice::kFastest;
  rpc::PlanSource source;
  source.compile = [choice](const density::v1::FlowSpec& spec, absl::Span<const registry::Tensor> tensors,
                            engine::CompileOptions options) {
    options.choice = choice;
    return engine::CompilePlan(spec, tensors, options);
  };
  source.float64_info = [choice, device = flags.device](const density::v1::FlowSpec& spec) {
    return engine::Float64PlanInfo(spec, device, choice);
  };
  source.read = [store](const std::string& name, uint64_t version) { return store.Read(name, version); };
  return source;
}

absl::Status AnnounceReadiness(const Flags& flags, const rpc::Server& server,
                               const telemetry::MetricsEndpoint* metrics) {
  const std::string address = WithPort(flags.server.address, server.port());
  const std::string metrics_address = metrics == nullptr ? "" : WithPort(flags.metrics_address, metrics->port());
  if (!flags.port_file.empty()) {
    auto status =
        WriteFileAtomically(FileSystem::Real(), flags.port_file, absl::StrCat(address, "\n", metrics_address, "\n"));
    if (!status.ok()) return status;
  }
  Log(LogLevel::kInfo, "ready",
      {{"version", kVersion},
       {"address", address},
       {"metrics_address", metrics_address},
       {"workers", flags.server.workers},
       {"replica", flags.replica},
       {"device", flags.device}});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<training::TrainingManager>> OpenTrainings(const Flags& flags,
                                                                         training::DatasetStore& datasets,
                                                                         registry::ModelManager& models) {
  training::TrainingManagerOptions options;
  options.root = flags.root;
  options.data_root = flags.data_root;
  options.worker_binary = "/proc/self/exe";
  options.device = flags.device;
  options.max_running = flags.max_running_trainings;
  options.stall = absl::Seconds(flags.training_stall_seconds);
  options.max_limits.set_memory_bytes(flags.max_training_memory);
  options.max_limits.set_seconds(flags.max_training_seconds);
  options.max_deaths = flags.training_attempts;
  options.max_queued = flags.max_queued_trainings;
  options.keep_finished = flags.keep_trainings;
  return training::TrainingManager::Open(
      FileSystem::Real(), datasets, std::move(options),
      [&models](const std::string& model, uint64_t version) { return models.OnPublished(model, version); });
}

/// What the server that owns the root has, and a replica has not, beside its trainings.
struct Ownership {
  FileDescriptor lock;
  std::optional<training::DatasetStore> datasets;
};

/// Takes the root, and clears away what a server that died has left there.
absl::Status OwnRoot(const Flags& flags, Ownership& ownership) {
  auto lock = LockRoot(flags.root);
  if (!lock.ok()) return lock.status();
  ownership.lock = *std::move(lock);
  // A training that outlived the server before has a folder of its own for what it is writing.
  if (auto store = registry::ModelStore::Open(FileSystem::Real(), flags.root, /*clean_tmp=*/true); !store.ok()) {
    return store.status();
  }
  auto datasets = training::DatasetStore::Open(FileSystem::Real(), flags.root, flags.max_dataset_bytes);
  if (!datasets.ok()) return datasets.status();
  ownership.datasets = *std::move(datasets);
  return absl::OkStatus();
}

}  // namespace

absl::Status Serve(const Flags& given) {
  Flags flags = given;
  const StopSignals signals;
  if (auto status = CheckMetricsAddress(flags); !status.ok()) return status;
  auto device = engine::ResolveDevice(flags.device);
  if (!device.ok()) return device.status();
  flags.device = *std::move(device);

  // Makes the root where it is absent, and touches nothing that another server may be writing.
  auto store = registry::ModelStore::Open(FileSystem::Real(), flags.root, /*clean_tmp=*/false);
  if (!store.ok()) return store.status();
  Ownership ownership;
  if (!flags.replica) {
    if (auto status = OwnRoot(flags, ownership); !status.ok()) return status;
  }

  // In the order of dependence: what comes later goes first.
  const auto metrics = std::make_shared<telemetry::Metrics>(flags.server.workers);
  telemetry::AccessLog access_log({.slow = absl::Seconds(flags.slow_seconds)}, Clock::Real());
  rpc::Health health;
  const auto on_change = [&metrics, &health](const density::v1::VersionInfo& info) {
    metrics->OnVersion(info);
    health.OnModelChanged(info.name());
  };
  const auto shares = rpc::ShareMemory(
      {.whole = flags.max_memory, .models = flags.max_model_bytes, .requests = flags.server.max_queued_bytes},
      MachineMemory(), ProcessMemory());
  if (!shares.ok()) return shares.status();
  flags.server.max_queued_bytes = shares->requests;
  MemoryBudget memory(shares->whole);
  Reservation process;
  memory.Reserve(shares->process, process);
  registry::ModelManager models(
      *store, rpc::MakeLoader(PlansOf(flags, *store), flags.device, flags.server.workers, *metrics),
      {shares->models, &memory}, {on_change}, {.keep = flags.replica ? 0 : flags.keep_versions});
  models.LoadAll([&signals] { return signals.requested(); });
  std::unique_ptr<training::TrainingManager> trainings;
  metrics->AddSource(std::make_unique<telemetry::ProcessMetrics>());
  if (!flags.replica) {
    auto opened = OpenTrainings(flags, *ownership.datasets, models);
    if (!opened.ok()) return opened.status();
    trainings = *std::move(opened);
    metrics->AddSource(
        std::make_unique<telemetry::TrainingMetrics>([&trainings] { return trainings->List(/*model=*/""); }));
  }

  if (signals.requested()) {
    Log(LogLevel::kInfo, "stopped before it served");
    return absl::OkStatus();
  }
  auto authorizer = rpc::Authorizer::Open(flags.auth_file, Clock::Real(), /*poll_interval=*/absl::Seconds(2),
                                          flags.server.client_limits);
  if (!authorizer.ok()) return authorizer.status();
  const bool authorized = (*authorizer)->in_use();
  if (authorized) {
    metrics->AddSource(
        std::make_unique<rpc::ClientMetrics>([&authorizer = **authorizer] { return authorizer.Quotas(); }));
  }
  rpc::AuditLog audit_log(FileSystem::Real(), flags.audit_log, Clock::Real());
  if (auto status = audit_log.CheckWritable(); !status.ok()) return status;
  std::unique_ptr<registry::RootPoll> poll;
  if (flags.poll_root_seconds > 0) {
    poll = std::make_unique<registry::RootPoll>(models, absl::Seconds(flags.poll_root_seconds));
  }

  auto server = rpc::Server::Start(flags.server, {.models = &models,
                                                  .datasets = flags.replica ? nullptr : &*ownership.datasets,
                                                  .trainings = trainings.get(),
                                                  .metrics = metrics.get(),
                                                  .access_log = &access_log,
                                                  .health = &health,
                                                  .clock = &Clock::Real(),
                                                  .authorizer = authorized ? authorizer->get() : nullptr,
                                                  .audit_log = &audit_log,
                                                  .memory = &memory,
                                                  .hidden_root = HiddenRoot(flags.root)});
  if (!server.ok()) return server.status();
  std::unique_ptr<telemetry::MetricsEndpoint> endpoint;
  if (!flags.metrics_address.empty()) {
    telemetry::MetricsEndpoint::IsAllowed is_allowed;
    if (authorized) {
      is_allowed = [&authorizer = **authorizer](const std::string& token) { return authorizer.MayReadMetrics(token); };
    }
    auto started = telemetry::MetricsEndpoint::Start(flags.metrics_address, metrics, std::move(is_allowed));
    if (!started.ok()) return started.status();
    endpoint = *std::move(started);
  }
  if (auto status = AnnounceReadiness(flags, **server, endpoint.get()); !status.ok()) return status;

  const int signal = signals.Wait();
  Log(LogLevel::kInfo, "signal", {{"signal", signal}});
  // They write their checkpoints while calls end.
  if (trainings != nullptr) trainings->Stop();
  const absl::Time trainings_end =
      trainings == nullptr || trainings->IsIdle() ? absl::InfinitePast() : absl::Now() + kTrainingsEnd;
  AnnounceStop(flags, **server);
  const absl::Duration drain = absl::Seconds(flags.drain_seconds);
  const LastResort last_resort(std::max(absl::Now() + drain + kControlGrace, trainings_end));
  (*server)->Stop(drain);
  endpoint.reset();
  poll.reset();
  server->reset();
  trainings.reset();
  Log(LogLevel::kInfo, "stopped");
  return absl::OkStatus();
}

}  // namespace densityd
