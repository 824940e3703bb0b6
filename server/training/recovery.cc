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
#include "server/training/resumption.h"
#include "server/training/timestamps.h"
#include "server/training/training_run.h"
#include "server/training/warm_start.h"
#include "server/training/worker_lock.h"

namespace densityd::training {
namespace {

using density::v1::Training;

// Everything that the processes told, as far as it can be read.
struct Told {
  RunResult run;
  absl::Time last = absl::InfinitePast();
  uint64_t events = 0;
};

Told ReplayEvents(FileSystem& files, const std::string& folder, Training& training) {
  Told told;
  EventLogReader reader(files, folder + kEventsFile);
  std::vector<TrainingEvent> events;
  told.run.log = reader.ReadNew(events);
  for (const TrainingEvent& event : events) {
    if (event.has_progress()) *training.mutable_progress() = event.progress();
    KeepEvent(event, told.run);
    told.last = FromTimestamp(event.time());
  }
  told.events = events.size();
  return told;
}

// What an unfinished training without a process comes to; true where it has ended.
bool Settle(const Told& told, int max_deaths, RecoveredTraining& recovered) {
  const absl::Time end = std::max(told.last, FromTimestamp(recovered.record.start_time()));
  switch (Conclude(told.run, recovered.cancelled, recovered.training)) {
    case Ending::kFinal:
      return true;
    case Ending::kSuspended:
      if (recovered.record.running()) {
        SuspendRun(end, absl::StrCat("the server was stopped ", AtStep(recovered.training)), recovered.record,
                   recovered.training);
      }
      return false;
    case Ending::kDied:
      break;
  }
  if (!recovered.record.running()) return false;
  const std::string why =
      absl::StrCat("the training process was gone when the server came back; it was ", AtStep(recovered.training));
  return !NoteDeath(end, why, max_deaths, recovered.record, recovered.training);
}

absl::StatusOr<RecoveredTraining> RecoverUnfinished(FileSystem& files, TrainingStore& store,
                                                    const registry::ModelStore& models, int max_deaths,
                                                    const TrainingJob& job) {
  const std::string& id = job.id();
  RecoveredTraining recovered;
  recovered.training = QueuedTraining(job);
  recovered.job = job;
  absl::StatusOr<RunRecord> record = store.ReadRun(id);
  // Without it the training goes on, but for its count of resumptions.
  if (!record.ok() && !absl::IsNotFound(record.status()) && !absl::IsDataLoss(record.status())) return record.status();
  if (record.ok()) recovered.record = *std::move(record);
  absl::StatusOr<bool> cancelled = store.IsCancelRequested(id);
  if (!cancelled.ok()) return cancelled.status();
  recovered.cancelled = *cancelled;

  // Before the events are read: a process that ends meanwhile has told all.
  const absl::StatusOr<std::optional<LiveWorker>> worker = FindLiveWorker(store.Folder(id));
  if (!worker.ok()) return worker.status();
  Told told = ReplayEvents(files, store.Folder(id), recovered.training);
  const bool has_begun = recovered.record.has_first_start_time() || told.events > 0;
  if (has_begun) ShowRun(recovered.record, recovered.training);
  // Each event raised the revision by one, and so did, at most once between two events, a stall.
  recovered.training.set_revision(recovered.record.revision() + 2 * told.events + 16);
  if (worker->has_value()) return recovered;

  recovered.training.set_state(density::v1::QUEUED);
  if (has_begun && !told.run.published.has_value()) {
    absl::StatusOr<std::optional<Published>> found = FindPublished(models, job);
    if (!found.ok()) return found.status();
    told.run.published = *std::move(found);
  }
  recovered.ended_now = Settle(told, max_deaths, recovered);
  if (!recovered.ended_now) {
    if (!has_begun) return recovered;
    if (const absl::Status status = store.WriteRun(id, recovered.record); !status.ok()) {
      Log(LogLevel::kError, "how often a training was interrupted could not be stored; the next server counts anew",
          {{"training", id}, {"error", ToStd(status.message())}});
    }
    return recovered;
  }
  *recovered.training.mutable_end_time() = ToTimestamp(Clock::Real().Now());
  if (const absl::Status status = store.WriteOutcome(recovered.training); !status.ok()) {
    Log(LogLevel::kError, "the outcome of a training could not be stored",
        {{"training", id}, {"error", ToStd(status.message())}});
  }
  return recovered;
}

absl::StatusOr<RecoveredTraining> Recover(FileSystem& files, TrainingStore& store, const registry::ModelStore& models,
                                          int max_deaths, const std::string& id) {
  absl::StatusOr<TrainingJob> job = store.ReadJob(id);
  if (!job.ok()) return job.status();
  absl::StatusOr<Training> outcome = store.ReadOutcome(id);
  if (absl::IsNotFound(outcome.status())) return RecoverUnfinished(files, store, models, max_deaths, *job);
  if (!outcome.ok()) return outcome.status();
  if (const absl::Status status = store.RemoveWork(id); !status.ok()) {
    Log(LogLevel::kWarning, "what is left of an ended training could not be removed",
        {{"training", id}, {"error", ToStd(status.message())}});
  }
  RecoveredTraining recovered;
  recovered.job = *std::move(job);
  recovered.training = *std::move(outcome);
  return recovered;
}

// A training whose folder told `error`.
RecoveredTraining LeftAlone(const TrainingStore& store, const std::string& id, const absl::Status& error) {
  RecoveredTraining unread;
  unread.is_left_alone = true;
  if (absl::StatusOr<TrainingJob> job = store.ReadJob(id); job.ok()) {
    unread.training = QueuedTraining(*job);
    unread.job = *std::move(job);
  }
  unread.training.set_id(id);
  unread.training.set_revision(1);
  Fail(error, unread.training);
  return unread;
}

}  // namespace

Training QueuedTraining(const TrainingJob& job) {
  Training training;
  training.set_id(job.id());
  training.set_model(job.request().model());
  training.set_state(density::v1::QUEUED);
  *training.mutable_create_time() = job.create_time();
  training.set_revision(1);
  training.set_priority(job.request().priority());
  *training.mutable_limits() = job.limits();
  training.set_warm_start(WarmStartName(job));
  return training;
}

absl::StatusOr<std::vector<RecoveredTraining>> RecoverTrainings(FileSystem& files, TrainingStore& store,
                                                                const registry::ModelStore& models, int max_deaths) {
  absl::StatusOr<std::vector<std::string>> ids = store.List();
  if (!ids.ok()) return ids.status();
  std::vector<RecoveredTraining> all;
  for (const std::string& id : *ids) {
    if (!registry::CheckId("id", id).ok()) {
      Log(LogLevel::kWarning, "a folder that is no training was passed over", {{"folder", store.Folder(id)}});
      continue;
    }
    absl::StatusOr<RecoveredTraining> recovered = Recover(files, store, models, max_deaths, id);
    if (recovered.ok()) {
      all.push_back(*std::move(recovered));
      continue;
    }
    Log(LogLevel::kError, "a stored training could not be read; it is left as it is",
        {{"training", id}, {"error", ToStd(recovered.status().message())}});
    all.push_back(LeftAlone(store, id, recovered.status()));
  }
  std::sort(all.begin(), all.end(), [](const RecoveredTraining& a, const RecoveredTraining& b) {
    return FromTimestamp(a.training.create_time()) < FromTimestamp(b.training.create_time());
  });
  return all;
}

}  // namespace densityd::training
