#include "server/training/outcome.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/strings.h"
#include "server/training/timestamps.h"

namespace densityd::training {
namespace {

using density::v1::Training;

constexpr char kStartAgain[] = "start the training again";

std::string AtStep(const Training& training) {
  if (!training.has_progress()) return "before its first step";
  return absl::StrCat("at step ", training.progress().step(), " of ", training.progress().total_steps());
}

// Why a process that published nothing and gave no reason is gone.
absl::Status DescribeDeath(const RunResult& run, const Training& training) {
  std::string message = absl::StrCat("the training process ", DescribeExit(run.exit), " ", AtStep(training));
  if (!run.log.ok()) absl::StrAppend(&message, "; its event log is damaged: ", run.log.message());
  if (!run.output.empty()) absl::StrAppend(&message, "; its last output: ", run.output);
  return absl::InternalError(message);
}

}  // namespace

void Fail(const absl::Status& error, Training& training) {
  training.set_state(density::v1::FAILED);
  training.set_error_code(static_cast<int>(error.code()));
  training.set_error(std::string(ToStd(error.message())));
}

void Conclude(const RunResult& run, StopReason stop, Training& training) {
  if (run.published.has_value()) {
    training.set_state(density::v1::SUCCEEDED);
    training.set_version(run.published->version());
    *training.mutable_report() = run.published->report();
  } else if (!run.started.ok()) {
    Fail(run.started, training);
  } else if (run.failed.has_value()) {
    Fail(absl::Status(static_cast<absl::StatusCode>(run.failed->code()), run.failed->message()), training);
  } else if (stop == StopReason::kCancelled) {
    training.set_state(density::v1::CANCELLED);
  } else if (stop == StopReason::kShutdown) {
    Fail(absl::AbortedError(absl::StrCat("the server was stopped ", AtStep(training), "; ", kStartAgain)), training);
  } else {
    Fail(DescribeDeath(run, training), training);
  }
}

absl::StatusOr<std::optional<Published>> FindPublished(const registry::ModelStore& store, const TrainingJob& job) {
  const std::string& model = job.request().model();
  absl::StatusOr<std::vector<uint64_t>> versions = store.Versions(model);
  if (absl::IsNotFound(versions.status())) return std::nullopt;
  if (!versions.ok()) return versions.status();
  for (auto version = versions->rbegin(); version != versions->rend(); ++version) {
    absl::StatusOr<density::v1::ModelManifest> manifest = store.ReadManifest(model, *version);
    if (!manifest.ok()) continue;
    if (manifest->provenance().training_id() == job.id()) {
      Published published;
      published.set_version(*version);
      *published.mutable_report() = manifest->report();
      return published;
    }
    // Whatever is older than the job cannot come from it.
    if (FromTimestamp(manifest->create_time()) < FromTimestamp(job.create_time())) break;
  }
  return std::nullopt;
}

}  // namespace densityd::training
