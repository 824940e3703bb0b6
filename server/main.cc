// densityd: one binary for the server and, started by it, for each training.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "server/base/freed_memory.h"
#include "server/base/locks.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/flags.h"
#include "server/serve.h"
#include "server/training/worker_main.h"

namespace {

void ConfigureLogs(const densityd::Flags& flags) {
  densityd::LogOptions options;
  options.level = densityd::ParseLogLevel("--log-level", flags.log_level).value_or(densityd::LogLevel::kInfo);
  if (flags.log_format == "json") options.format = densityd::LogFormat::kJson;
  if (flags.log_format == "text") options.format = densityd::LogFormat::kText;
  densityd::ConfigureLogging(options);
}

}  // namespace

int main(int argc, char** argv) {
  densityd::ConfigureLocks();
  densityd::Flags flags;
  int exit_code = EXIT_SUCCESS;
  if (!densityd::ParseFlags(argc, argv, flags, exit_code)) return exit_code;
  if (flags.command == densityd::Flags::Command::kTrainWorker) {
    return densityd::training::TrainWorkerMain(flags.training_folder);
  }
  densityd::KeepFreedMemory();
  ConfigureLogs(flags);
  const absl::Status status = densityd::Serve(flags);
  if (status.ok()) return EXIT_SUCCESS;
  densityd::Log(densityd::LogLevel::kError, "cannot serve", {{"error", densityd::ToStd(status.message())}});
  return EXIT_FAILURE;
}
