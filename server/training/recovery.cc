#include "server/training/recovery.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/registry/names.h"
#include "server/training/event_log.h"
#include "server/training/outcome.h"
#include "server/training/timestamps.h"

namespace densityd::training {
namespace {

using density::v1::Training;

// Everything that the process told, as far as it can be read.
void ReplayEvents(FileSystem& files, const std::string& folder, Training& training, RunResult& run) {
  EventLogReader reader(files, folder + kEventsFile);
  std::vector<TrainingEvent> events;
  run.log = reader.ReadNew(events);
  for (const TrainingEvent& event : events) {
    if (event.has_progress()) *training.mutable_progress() = event.progress();
    if (event.has_published()) run.published = event.published();
    if (event.has_failed()) run.failed = event.failed();
  }
}

// A process that was started has opened its log, whatever else it came to.
absl::StatusOr<bool> HadBegun(FileSystem& files, const std::string& folder) {
  return files.Exists(folder + kWorkerLogFile);
}

absl::StatusOr<RecoveredTraining> Recover(FileSystem& files, TrainingStore& store, const registry::ModelStore& models,
                                          const std::string& id) {
  absl::StatusOr<TrainingJob> job = store.ReadJob(id);
  if (!job.ok()) return job.status();
  absl::StatusOr<Training> outcome = store.ReadOutcome(id);
  if (outcome.ok()) return RecoveredTraining{*std::move(job), *std::move(outcome)};
  if (!absl::IsNotFound(outcome.status())) return outcome.status();

  RecoveredTraining recovered{*std::move(job), {}};
  recovered.training = QueuedTraining(recovered.job);
  absl::StatusOr<bool> begun = HadBegun(files, store.Folder(id));
  if (!begun.ok()) return begun.status();
  if (!*begun) return recovered;

  RunResult run;
  ReplayEvents(files, store.Folder(id), recovered.training, run);
  if (!run.published.has_value()) {
    absl::StatusOr<std::optional<Published>> found = FindPublished(models, recovered.job);
    if (!found.ok()) return found.status();
    run.published = *std::move(found);
  }
  Conclude(run, StopReason::kShutdown, recovered.training);
  *recovered.training.mutable_end_time() = ToTimestamp(Clock::Real().Now());
  if (const absl::Status status = store.WriteOutcome(recovered.training); !status.ok()) {
    Log(LogLevel::kError, "the outcome of a training could not be stored",
        {{"training", id}, {"error", ToStd(status.message())}});
  }
  return recovered;
}

}  // namespace

Training QueuedTraining(const TrainingJob& job) {
  Training training;
  training.set_id(job.id());
  training.set_model(job.request().model());
  training.set_state(density::v1::QUEUED);
  *training.mutable_create_time() = job.create_time();
  training.set_revision(1);
  return training;
}

absl::StatusOr<std::vector<RecoveredTraining>> RecoverTrainings(FileSystem& files, TrainingStore& store,
                                                                const registry::ModelStore& models) {
  absl::StatusOr<std::vector<std::string>> ids = store.List();
  if (!ids.ok()) return ids.status();
  std::vector<RecoveredTraining> all;
  for (const std::string& id : *ids) {
    if (!registry::CheckId("id", id).ok()) {
      Log(LogLevel::kWarning, "a folder that is no training was passed over", {{"folder", store.Folder(id)}});
      continue;
    }
    absl::StatusOr<RecoveredTraining> recovered = Recover(files, store, models, id);
    if (recovered.ok()) {
      all.push_back(*std::move(recovered));
      continue;
    }
    Log(LogLevel::kError, "a stored training is damaged",
        {{"training", id}, {"error", ToStd(recovered.status().message())}});
    RecoveredTraining damaged;
    damaged.training.set_id(id);
    Fail(recovered.status(), damaged.training);
    damaged.training.set_revision(1);
    all.push_back(std::move(damaged));
  }
  std::sort(all.begin(), all.end(), [](const RecoveredTraining& a, const RecoveredTraining& b) {
    return FromTimestamp(a.training.create_time()) < FromTimestamp(b.training.create_time());
  });
  return all;
}

}  // namespace densityd::training
