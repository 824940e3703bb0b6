#include "server/training/outcome.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/training/resumption.h"
#include "server/training/timestamps.h"

namespace densityd::training {

using density::v1::Training;

void Fail(const absl::Status& error, Training& training) {
  training.set_state(density::v1::FAILED);
  training.set_error_code(static_cast<int>(error.code()));
  training.set_error(std::string(ToStd(error.message())));
}

Ending Conclude(const RunResult& run, bool cancelled, Training& training) {
  if (run.published.has_value()) {
    training.set_state(density::v1::SUCCEEDED);
    training.set_version(run.published->version());
    *training.mutable_report() = run.published->report();
  } else if (!run.started.ok()) {
    Fail(run.started, training);
  } else if (run.failed.has_value()) {
    Fail(absl::Status(static_cast<absl::StatusCode>(run.failed->code()), run.failed->message()), training);
  } else if (!run.over_limit.ok()) {
    Fail(Annotate(run.over_limit, absl::StrCat("stopped ", AtStep(training))), training);
  } else if (cancelled) {
    training.set_state(density::v1::CANCELLED);
  } else {
    // A damaged log decides nothing: the machine may have lost its power while it grew.
    return run.suspended ? Ending::kSuspended : Ending::kDied;
  }
  training.set_stalled(false);
  return Ending::kFinal;
}

std::string DescribeDeath(const RunResult& run, const Training& training) {
  std::string message = absl::StrCat("the training process ", DescribeExit(run.exit), " ", AtStep(training));
  if (!run.log.ok()) absl::StrAppend(&message, "; its event log is damaged: ", run.log.message());
  if (!run.output.empty()) absl::StrAppend(&message, "; its last output: ", run.output);
  return message;
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
    // One that is older than the job does not end the search: it may have been imported later.
  }
  return std::nullopt;
}

}  // namespace densityd::training
