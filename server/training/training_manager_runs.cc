// The threads of a TrainingManager that run trainings, and what follows from the end of each.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/training/outcome.h"
#include "server/training/resumption.h"
#include "server/training/timestamps.h"
#include "server/training/training_manager_impl.h"

namespace densityd::training {

using density::v1::Training;

void TrainingManager::Impl::RunLoop() {
  for (;;) {
    TrainingJob job;
    RunRecord record;
    std::shared_ptr<LiveTraining> live;
    std::shared_ptr<TrainingRun> run;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(this, &Impl::WorkToDo));
      if (stopping_) return;
      std::string id;
      if (adopted_.empty()) {
        id = queue_.Take();
      } else {
        id = std::move(adopted_.back());
        adopted_.pop_back();
      }
      ++running_;
      Entry& entry = entries_.find(id)->second;
      job = entry.job;
      live = entry.live;
      const Training training = live->Get();
      if (training.state() == density::v1::QUEUED) BeginRun(Clock::Real().Now(), training.revision(), entry.record);
      record = entry.record;
      run = std::make_shared<TrainingRun>(files_, store_.Folder(id), OptionsOf(job, record));
      entry.run = run;
      if (entry.cancelled) run->RequestStop();
    }
    const bool again = RunTraining(job, record, *live, *run);
    bool cancel = false;
    {
      absl::MutexLock lock(&mutex_);
      --running_;
      Entry& entry = entries_.find(job.id())->second;
      entry.record = record;
      entry.run = nullptr;
      cancel = again && entry.cancelled;
      if (again && !cancel) queue_.Add(live->Get());
    }
    if (cancel) {
      Training training = live->Get();
      training.set_state(density::v1::CANCELLED);
      Finish(*live, std::move(training));
    }
    ForgetOld();
  }
}

RunOptions TrainingManager::Impl::OptionsOf(const TrainingJob& job, const RunRecord& record) const {
  RunOptions options;
  options.binary = options_.worker_binary;
  options.threads = std::max(1u, job.request().options().threads());
  options.grace = options_.stop_grace;
  options.stall = options_.stall;
  options.memory_bytes = job.limits().memory_bytes();
  if (job.limits().seconds() > 0) {
    options.time_limit = absl::Seconds(job.limits().seconds());
    options.time_limit_at = FromTimestamp(record.start_time()) + options.time_limit - absl::Seconds(record.seconds());
  }
  return options;
}

bool TrainingManager::Impl::RunTraining(const TrainingJob& job, RunRecord& record, LiveTraining& live,
                                        TrainingRun& run) {
  WriteRun(job.id(), record);
  live.Update([&](Training& training) { ShowRun(record, training); });
  Log(LogLevel::kInfo, "training runs",
      {{"training", job.id()}, {"model", job.request().model()}, {"resumes", record.resumes()}});
  RunObserver observer;
  observer.on_event = [&](const TrainingEvent& event) {
    if (!event.has_progress()) return;
    live.Update([&](Training& training) {
      *training.mutable_progress() = event.progress();
      training.set_stalled(false);
    });
  };
  observer.on_stall = [&] {
    Log(LogLevel::kWarning, "a training stalls: nothing was heard of its process",
        {{"training", job.id()}, {"seconds", absl::ToInt64Seconds(options_.stall)}});
    live.Update([](Training& training) { training.set_stalled(true); });
  };
  RunResult result = run.Run(observer);
  if (!result.published.has_value()) {
    // The process may have died between publishing and telling of it.
    absl::StatusOr<std::optional<Published>> found = FindPublished(models_, job);
    if (found.ok()) result.published = *std::move(found);
  }
  return Settle(job, result, record, live);
}

bool TrainingManager::Impl::Settle(const TrainingJob& job, const RunResult& result, RunRecord& record,
                                   LiveTraining& live) {
  const absl::Time now = Clock::Real().Now();
  Training training = live.Get();
  const Ending ending = Conclude(result, IsCancelled(job.id()), training);
  if (training.state() == density::v1::SUCCEEDED) {
    if (const absl::Status status = on_published_(training.model(), training.version()); !status.ok()) {
      const uint64_t version = training.version();
      training.clear_version();
      training.clear_report();
      Fail(Annotate(status, absl::StrCat("version ", version, " was published, but is not served")), training);
    }
  }
  bool again = ending != Ending::kFinal;
  if (ending == Ending::kSuspended || (again && result.asked_to_stop)) {
    const char* why = IsStopping() ? "the server was stopped " : "the training process was asked to stop ";
    SuspendRun(now, absl::StrCat(why, AtStep(training)), record, training);
  } else if (ending == Ending::kDied) {
    again = NoteDeath(now, DescribeDeath(result, training), options_.max_deaths, record, training);
  }
  if (!again) {
    Finish(live, std::move(training));
    return false;
  }
  WriteRun(job.id(), record);
  Log(LogLevel::kWarning, "training was interrupted", {{"training", job.id()}, {"why", training.interruption()}});
  live.Update([&](Training& shown) {
    training.set_revision(shown.revision());
    shown = training;
  });
  return true;
}

void TrainingManager::Impl::WriteRun(const std::string& id, const RunRecord& record) {
  if (const absl::Status status = store_.WriteRun(id, record); !status.ok()) {
    Log(LogLevel::kError, "what is known of a training's process could not be stored",
        {{"training", id}, {"error", ToStd(status.message())}});
  }
}

bool TrainingManager::Impl::IsCancelled(const std::string& id) const {
  absl::MutexLock lock(&mutex_);
  const auto entry = entries_.find(id);
  return entry != entries_.end() && entry->second.cancelled;
}

bool TrainingManager::Impl::IsStopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void TrainingManager::Impl::Finish(LiveTraining& live, Training final_state) {
  *final_state.mutable_end_time() = ToTimestamp(Clock::Real().Now());
  final_state.set_revision(final_state.revision() + 1);
  const LogLevel level = final_state.state() == density::v1::FAILED ? LogLevel::kWarning : LogLevel::kInfo;
  Log(level, "training ended",
      {{"training", final_state.id()},
       {"model", final_state.model()},
       {"state", density::v1::TrainingState_Name(final_state.state())},
       {"error", final_state.error()}});
  if (const absl::Status status = store_.WriteOutcome(final_state); !status.ok()) {
    Log(LogLevel::kError, "the outcome of a training could not be stored; the next server will find it out anew",
        {{"training", final_state.id()}, {"error", ToStd(status.message())}});
  }
  live.Update([&](Training& training) {
    final_state.set_revision(training.revision());
    training = final_state;
  });
}

void TrainingManager::Impl::ForgetOld() {
  if (options_.keep_finished == 0) return;
  std::vector<Training> ended = List(/*model=*/"");
  ended.erase(
      std::remove_if(ended.begin(), ended.end(), [](const Training& training) { return !IsFinal(training.state()); }),
      ended.end());
  // By their end: one that waited or ran for long is not forgotten the moment that somebody hears of its end.
  std::stable_sort(ended.begin(), ended.end(), [](const Training& a, const Training& b) {
    return FromTimestamp(a.end_time()) > FromTimestamp(b.end_time());
  });
  for (size_t i = options_.keep_finished; i < ended.size(); ++i) {
    const std::string& id = ended[i].id();
    {
      absl::MutexLock lock(&mutex_);
      const auto entry = entries_.find(id);
      // Its thread may not be done with it, or another one may have forgotten it.
      if (entry == entries_.end() || entry->second.run != nullptr || entry->second.is_left_alone) continue;
      ids_by_key_.erase(entry->second.job.request().idempotency_key());
      entries_.erase(entry);
    }
    if (const absl::Status status = store_.Remove(id); !status.ok()) {
      Log(LogLevel::kWarning, "the folder of an old training could not be removed",
          {{"training", id}, {"error", ToStd(status.message())}});
    }
  }
}

}  // namespace densityd::training
