#include "server/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "server/version.h"

namespace densityd {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  densityd --root /var/lib/densityd\n"
    "      serves on 127.0.0.1:50051, metrics on 127.0.0.1:9464\n"
    "  densityd --root models --data-root data --address 127.0.0.1:0 --port-file port\n"
    "      picks a free port and writes its address to a file; trainings may read files below data/\n"
    "  densityd --root models --address 0.0.0.0:50051 --tls-cert chain.pem --tls-key key.pem --tls-client-ca ca.pem\n"
    "      serves other machines that show a certificate\n"
    "Sizes may have a unit: 64MiB, 2GiB. SIGTERM drains and stops; a second one stops at once.";

void AddServing(CLI::App& app, Flags& flags) {
  rpc::ServerOptions& server = flags.server;
  app.add_option("--root", flags.root, "Folder of models, trainings and datasets; made where absent")
      ->required()
      ->group("Storage");
  app.add_option("--data-root", flags.data_root, "Folder that trainings may read files from; none: no files")
      ->check(CLI::ExistingDirectory)
      ->group("Storage");
  app.add_option("--poll-root", flags.poll_root_seconds,
                 "Seconds between looks for models that other servers published below --root; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Storage");
  app.add_option(
         "--keep-versions", flags.keep_versions,
         "Newest versions of each model that stay when another is published; older ones go unless an alias names "
         "them or they are in use; 0: all stay")
      ->capture_default_str()
      ->group("Storage");
  app.add_flag("--replica", flags.replica,
               "Serve the models of a --root that another server owns and trains: for many servers on a shared volume")
      ->group("Storage");
  app.add_option("--device", flags.device, "Where rows are computed: auto, cpu, cuda, cuda:<n>")
      ->capture_default_str()
      ->group("Computation");
  app.add_option("--plan", flags.plan, "How rows are computed: auto (compiled where possible), reference (LibTorch)")
      ->check(CLI::IsMember({"auto", "reference"}))
      ->capture_default_str()
      ->group("Computation");
  app.add_option("--workers", server.workers, "Threads that compute rows; default: one per core")
      ->check(CLI::Range(1, 1024))
      ->group("Computation");
  app.add_option("--control-threads", server.control_threads, "Threads for control calls")
      ->check(CLI::Range(1, 256))
      ->capture_default_str()
      ->group("Computation");
}

void AddTrainings(CLI::App& app, Flags& flags) {
  app.add_option("--max-running-trainings", flags.max_running_trainings, "Trainings that run at the same time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->group("Trainings");
  app.add_option("--max-queued-trainings", flags.max_queued_trainings, "Trainings that may wait for their turn")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Trainings");
  app.add_option("--max-training-memory", flags.max_training_memory,
                 "Memory of a training's process; requests may ask for less; 0: no limit")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str()
      ->group("Trainings");
  app.add_option("--max-training-seconds", flags.max_training_seconds,
                 "Seconds that a training may run; requests may ask for less; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Trainings");
  app.add_option("--training-stall-seconds", flags.training_stall_seconds,
                 "Silence of a training's process after which the training is said to stall")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Trainings");
  app.add_option("--training-attempts", flags.training_attempts,
                 "Processes of a training that may die in a row without getting further before it fails")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group("Trainings");
  app.add_option("--keep-trainings", flags.keep_trainings,
                 "Ended trainings that are remembered; their versions stay in any case; 0: all")
      ->capture_default_str()
      ->group("Trainings");
}

void AddNetwork(CLI::App& app, Flags& flags) {
  rpc::ServerOptions& server = flags.server;
  app.add_option("--address", server.address, "host:port for gRPC, or unix:PATH; port 0 picks a free one")
      ->capture_default_str()
      ->group("Network");
  app.add_option("--port-file", flags.port_file,
                 "File that the addresses of gRPC and of metrics are written to, one per line, when the "
                 "server is ready")
      ->group("Network");
  app.add_option("--metrics-address", flags.metrics_address, "host:port of GET /metrics; empty: none")
      ->capture_default_str()
      ->group("Network");
  app.add_option("--tls-cert", server.tls.certificate,
                 "PEM file with the server's certificate chain; read again when "
                 "it changes")
      ->group("Network");
  app.add_option("--tls-key", server.tls.key, "PEM file with its private key")->group("Network");
  app.add_option("--tls-client-ca", server.tls.client_ca, "PEM file; clients must show a certificate signed by it")
      ->group("Network");
  app.add_option("--auth-file", flags.auth_file,
                 "File that says who may do what; read again when it changes. None: everybody may do everything")
      ->group("Network");
  app.add_option("--audit-log", flags.audit_log,
                 "File that one line is appended to for each call that changes something; none: the log")
      ->group("Network");
  app.add_flag("--insecure-listen-beyond-loopback", server.insecure_beyond_loopback,
               "Allow addresses that other machines reach without TLS, for gRPC and metrics")
      ->group("Network");
}

void AddLimits(CLI::App& app, Flags& flags) {
  rpc::ServerOptions& server = flags.server;
  const auto bytes = [&app](const char* name, auto& value, const char* help) {
    app.add_option(name, value, help)->transform(CLI::AsSizeValue(false))->capture_default_str()->group("Limits");
  };
  bytes("--max-memory", flags.max_memory,
        "Memory of the server for models, requests and all else, trainings (processes of their own) apart; 0: three "
        "quarters of the machine's, or of its control group's (a container)");
  bytes("--max-message-bytes", server.limits.max_message_bytes, "Largest request and answer");
  bytes("--max-queued-bytes", server.max_queued_bytes,
        "Memory of row requests and of their answers until these are sent, a sixth of it for what lies beside them");
  bytes("--max-model-bytes", flags.max_model_bytes,
        "Memory of loaded models; 0: what requests leave of --max-memory, at least half");
  bytes("--max-dataset-bytes", flags.max_dataset_bytes, "Largest uploaded dataset");
  bytes("--max-import-bytes", server.max_import_bytes, "Largest imported model");
  app.add_option("--max-uploads", server.max_uploads, "Datasets that are uploaded at the same time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-request-rows", server.limits.max_request_rows, "Most rows of one request")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-queued-rows", server.max_queued_rows, "Rows that wait or are computed")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-client-rows-per-second", server.client_limits.rows_per_second,
                 "Rows that one client (a name in --auth-file, else a certificate, else an address) may ask for per "
                 "second; 0: no limit")
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-client-calls", server.client_limits.calls,
                 "Calls that one client may have in flight; 0: no limit")
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-connections", server.connections.total, "Connections that may be open")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-connections-per-address", server.connections.per_address,
                 "Connections that one address (IPv6: one /64) may have open")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Limits");
  app.add_option("--max-concurrent-streams", server.max_concurrent_streams, "Calls at once on one connection")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Limits");
}

void AddConnectionTimes(CLI::App& app, Flags& flags) {
  const auto seconds = [&app](const char* name, double& value, const char* help, double least) {
    app.add_option(name, value, help)->check(CLI::Range(least, 1e9))->capture_default_str()->group("Network");
  };
  seconds("--handshake-timeout", flags.handshake_seconds, "Seconds that a new connection has for TLS and HTTP/2", 0.1);
  seconds("--max-connection-idle", flags.connection_idle_seconds,
          "Seconds after which a connection without calls is closed", 1);
  seconds("--max-connection-age", flags.connection_age_seconds,
          "Seconds after which a connection is ended gently, so that clients spread over servers; 0: never", 0);
}

void AddOperation(CLI::App& app, Flags& flags) {
  const auto seconds = [&app](const char* name, double& value, const char* help) {
    app.add_option(name, value, help)->check(CLI::NonNegativeNumber)->capture_default_str()->group("Operation");
  };
  seconds("--lame-duck", flags.lame_duck_seconds, "Seconds between NOT_SERVING and the end of accepting calls");
  seconds("--drain-timeout", flags.drain_seconds, "Seconds that calls in flight have to end after SIGTERM");
  seconds("--slow-seconds", flags.slow_seconds, "Calls that take at least this long are logged");
  app.add_option("--log-level", flags.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str()
      ->group("Operation");
  app.add_option("--log-format", flags.log_format, "json, text, or auto: text on a terminal")
      ->check(CLI::IsMember({"auto", "json", "text"}))
      ->capture_default_str()
      ->group("Operation");
}

/// `serve` is the default command: `densityd --root models` is `densityd serve --root models`.
std::vector<std::string> WithCommand(int argc, char** argv) {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  static constexpr const char* kFirst[] = {"serve", "train-worker", "-h", "--help", "--version"};
  const bool named =
      !arguments.empty() && std::find(std::begin(kFirst), std::end(kFirst), arguments[0]) != std::end(kFirst);
  if (!named) arguments.insert(arguments.begin(), "serve");
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  return arguments;
}

}  // namespace

bool ParseFlags(int argc, char** argv, Flags& flags, int& exit_code) {
  flags.server.workers = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  CLI::App app("densityd: trains, stores and serves normalizing flows", "densityd");
  app.set_version_flag("--version", std::string("densityd ") + kVersion);
  app.footer(kExamples);
  CLI::App* serve = app.add_subcommand("serve", "Serve (the default command)")->footer(kExamples);
  CLI::App* worker = app.add_subcommand("train-worker", "Run one training; started by the server");
  AddServing(*serve, flags);
  AddTrainings(*serve, flags);
  AddNetwork(*serve, flags);
  AddConnectionTimes(*serve, flags);
  AddLimits(*serve, flags);
  AddOperation(*serve, flags);
  worker->add_option("folder", flags.training_folder, "The training's folder")->required();
  try {
    app.parse(WithCommand(argc, argv));
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error);
    return false;
  }
  flags.server.handshake_timeout = absl::Seconds(flags.handshake_seconds);
  flags.server.max_connection_idle = absl::Seconds(flags.connection_idle_seconds);
  flags.server.max_connection_age =
      flags.connection_age_seconds > 0 ? absl::Seconds(flags.connection_age_seconds) : absl::InfiniteDuration();
  flags.command = worker->parsed() ? Flags::Command::kTrainWorker : Flags::Command::kServe;
  return true;
}

}  // namespace densityd
