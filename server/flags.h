// Command line of densityd.
#pragma once

#include <cstdint>
#include <string>

#include "server/rpc/server.h"

namespace densityd {

/// What is to be done: everything that the command line says.
struct Flags {
  enum class Command { kServe, kTrainWorker };
  Command command = Command::kServe;

  // serve
  std::string root;
  std::string data_root;
  std::string port_file;
  std::string metrics_address = "127.0.0.1:9464";
  std::string device = "auto";
  std::string plan = "auto";
  uint64_t max_memory = 0;       ///< 0: three quarters of MachineMemory
  uint64_t max_model_bytes = 0;  ///< 0: what requests leave of max_memory
  std::string auth_file;
  std::string audit_log;
  double poll_root_seconds = 10;  ///< 0: never
  uint64_t keep_versions = 0;     ///< 0: all
  bool replica = false;           ///< another server owns the root
  uint64_t max_dataset_bytes = uint64_t{10} << 30;
  int max_running_trainings = 1;
  uint64_t max_training_memory = 0;  ///< bytes; 0: no limit
  double max_training_seconds = 0;   ///< 0: no limit
  double training_stall_seconds = 120;
  int training_attempts = 3;
  uint64_t max_queued_trainings = 1000;
  uint64_t keep_trainings = 200;  ///< 0: all
  double slow_seconds = 1;
  double handshake_seconds = 10;
  double connection_idle_seconds = 1800;
  double connection_age_seconds = 0;  ///< 0: for ever
  double lame_duck_seconds = 0;
  double drain_seconds = 30;
  std::string log_level = "info";
  std::string log_format = "auto";
  rpc::ServerOptions server;

  // train-worker
  std::string training_folder;
};

/// Reads the command line. Where there is nothing left to do (--help, --version, an error), prints what there is to say
/// and returns false with the process's exit code in `exit_code`.
bool ParseFlags(int argc, char** argv, Flags& flags, int& exit_code);

}  // namespace densityd
