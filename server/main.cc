// densityd: one binary for the server and, started by it, for each training.
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "server/base/locks.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/flags.h"
#include "server/serve.h"
#include "server/training/worker_main.h"

namespace {

/// glibc would give large blocks back to the system after each request and fault them in again for the next: worth a
/// factor of two above 128 rows. Unloading a model trims.
void ConfigureAllocator() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
}

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
  ConfigureAllocator();
  ConfigureLogs(flags);
  const absl::Status status = densityd::Serve(flags);
  if (status.ok()) return EXIT_SUCCESS;
  densityd::Log(densityd::LogLevel::kError, "cannot serve", {{"error", densityd::ToStd(status.message())}});
  return EXIT_FAILURE;
}
