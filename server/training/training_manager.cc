#include "server/training/training_manager.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/registry/model_store.h"
#include "server/registry/names.h"
#include "server/training/ids.h"
#include "server/training/live_training.h"
#include "server/training/outcome.h"
#include "server/training/recovery.h"
#include "server/training/request_check.h"
#include "server/training/timestamps.h"
#include "server/training/training_run.h"
#include "server/training/training_store.h"

namespace densityd::training {

using density::v1::Training;
using density::v1::TrainRequest;

class TrainingManager::Impl {
 public:
  Impl(FileSystem& files, DatasetStore& datasets, TrainingStore store, registry::ModelStore models,
       TrainingManagerOptions options, OnPublished on_published)
      : files_(files),
        datasets_(datasets),
        store_(std::move(store)),
        models_(std::move(models)),
        options_(std::move(options)),
        on_published_(std::move(on_published)) {}

  ~Impl();

  absl::Status Recover();
  // Starts the threads that run trainings. Each runs one at a time and lives as long as the manager: the kernel ends a
  // training process with the thread that started it.
  void StartRunners();

  absl::StatusOr<Training> Start(const TrainRequest& request);
  absl::StatusOr<Training> Cancel(std::string_view id);
  absl::StatusOr<std::shared_ptr<LiveTraining>> Find(std::string_view id) const;
  std::vector<Training> List(std::string_view model) const;
  bool UsesDataset(std::string_view dataset_id) const;

 private:
  struct Entry {
    TrainingJob job;
    std::shared_ptr<LiveTraining> live;
    std::shared_ptr<TrainingRun> run;  // while it runs
    StopReason stop = StopReason::kNone;
  };

  void RunLoop();
  bool WorkToDo() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); }
  void RunTraining(const TrainingJob& job, LiveTraining& live, TrainingRun& run);
  void TakeEvent(const TrainingEvent& event, LiveTraining& live);
  // Completes, records and shows a final state.
  void Finish(LiveTraining& live, Training final_state);
  void AddEntry(const TrainingJob& job, Training training) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  FileSystem& files_;
  DatasetStore& datasets_;
  TrainingStore store_;
  const registry::ModelStore models_;
  const TrainingManagerOptions options_;
  const OnPublished on_published_;

  mutable absl::Mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> runners_;
};

TrainingManager::Impl::~Impl() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    for (auto& [id, entry] : entries_) {
      if (entry.run == nullptr) continue;
      if (entry.stop == StopReason::kNone) entry.stop = StopReason::kShutdown;
      entry.run->RequestStop();
    }
  }
  for (std::thread& runner : runners_) runner.join();
}

absl::Status TrainingManager::Impl::Recover() {
  absl::StatusOr<std::vector<RecoveredTraining>> found = RecoverTrainings(files_, store_, models_);
  if (!found.ok()) return found.status();
  absl::MutexLock lock(&mutex_);
  for (RecoveredTraining& recovered : *found) AddEntry(recovered.job, std::move(recovered.training));
  return absl::OkStatus();
}

void TrainingManager::Impl::StartRunners() {
  for (int i = 0; i < options_.max_running; ++i) runners_.emplace_back([this] { RunLoop(); });
}

void TrainingManager::Impl::AddEntry(const TrainingJob& job, Training training) {
  Entry entry;
  entry.job = job;
  if (!IsFinal(training.state())) queue_.push_back(training.id());
  std::string id = training.id();
  entry.live = std::make_shared<LiveTraining>(std::move(training));
  entries_.insert_or_assign(std::move(id), std::move(entry));
}

absl::StatusOr<Training> TrainingManager::Impl::Start(const TrainRequest& request) {
  absl::StatusOr<ConstMatrix> rows = CheckTrainRequest(request, datasets_, options_.data_root);
  if (!rows.ok()) return rows.status();
  const absl::Time now = Clock::Real().Now();
  TrainingJob job;
  job.set_id(NewId("training", now));
  *job.mutable_create_time() = ToTimestamp(now);
  *job.mutable_request() = request;
  job.mutable_request()->clear_rows();
  job.set_inline_rows(rows->data != nullptr);
  job.set_data_root(options_.data_root);
  job.set_device(options_.device);
  if (absl::Status status = store_.Create(job, *rows); !status.ok()) return status;

  const Training training = QueuedTraining(job);
  absl::MutexLock lock(&mutex_);
  AddEntry(job, training);
  return training;
}

absl::StatusOr<Training> TrainingManager::Impl::Cancel(std::string_view id) {
  absl::StatusOr<std::shared_ptr<LiveTraining>> live = Find(id);
  if (!live.ok()) return live.status();
  bool was_queued = false;
  {
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_.find(id)->second;
    const auto queued = std::find(queue_.begin(), queue_.end(), id);
    was_queued = queued != queue_.end();
    if (was_queued) queue_.erase(queued);
    if (entry.run != nullptr) {
      if (entry.stop == StopReason::kNone) entry.stop = StopReason::kCancelled;
      entry.run->RequestStop();
    }
  }
  Training training = (*live)->Get();
  if (was_queued) {
    training.set_state(density::v1::CANCELLED);
    Finish(**live, training);
    return (*live)->Get();
  }
  if (IsFinal(training.state())) {
    return FailedPrecondition("training", id,
                              absl::StrCat("has already ended: ", density::v1::TrainingState_Name(training.state())));
  }
  return training;
}

absl::StatusOr<std::shared_ptr<LiveTraining>> TrainingManager::Impl::Find(std::string_view id) const {
  if (absl::Status status = registry::CheckId("id", id); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  const auto entry = entries_.find(id);
  if (entry == entries_.end()) return NotFound("training", id, "no such training");
  return entry->second.live;
}

std::vector<Training> TrainingManager::Impl::List(std::string_view model) const {
  std::vector<std::shared_ptr<LiveTraining>> all;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, entry] : entries_) all.push_back(entry.live);
  }
  std::vector<Training> trainings;
  for (const auto& live : all) {
    Training training = live->Get();
    if (model.empty() || training.model() == model) trainings.push_back(std::move(training));
  }
  std::sort(trainings.begin(), trainings.end(), [](const Training& a, const Training& b) {
    const absl::Time a_time = FromTimestamp(a.create_time());
    const absl::Time b_time = FromTimestamp(b.create_time());
    return a_time != b_time ? a_time > b_time : a.id() > b.id();
  });
  return trainings;
}

bool TrainingManager::Impl::UsesDataset(std::string_view dataset_id) const {
  absl::MutexLock lock(&mutex_);
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.job.request().dataset() == dataset_id && !IsFinal(entry.second.live->Get().state());
  });
}

void TrainingManager::Impl::RunLoop() {
  for (;;) {
    TrainingJob job;
    std::shared_ptr<LiveTraining> live;
    std::shared_ptr<TrainingRun> run;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(this, &Impl::WorkToDo));
      if (stopping_) return;
      Entry& entry = entries_.find(queue_.front())->second;
      queue_.pop_front();
      job = entry.job;
      live = entry.live;
      run = std::make_shared<TrainingRun>(files_, store_.Folder(job.id()), options_.stop_grace);
      entry.run = run;
    }
    RunTraining(job, *live, *run);
  }
}

void TrainingManager::Impl::RunTraining(const TrainingJob& job, LiveTraining& live, TrainingRun& run) {
  live.Update([](Training& training) {
    training.set_state(density::v1::RUNNING);
    *training.mutable_start_time() = ToTimestamp(Clock::Real().Now());
  });
  Log(LogLevel::kInfo, "training started", {{"training", job.id()}, {"model", job.request().model()}});
  const uint32_t threads = std::max(1u, job.request().options().threads());
  RunResult result =
      run.Run(options_.worker_binary, threads, [&](const TrainingEvent& event) { TakeEvent(event, live); });
  StopReason stop = StopReason::kNone;
  {
    absl::MutexLock lock(&mutex_);
    Entry& entry = entries_.find(job.id())->second;
    stop = entry.stop;
    entry.run = nullptr;
  }
  if (!result.published.has_value()) {
    // The process may have died between publishing and telling of it.
    absl::StatusOr<std::optional<Published>> found = FindPublished(models_, job);
    if (found.ok()) result.published = *std::move(found);
  }
  Training training = live.Get();
  Conclude(result, stop, training);
  if (training.state() == density::v1::SUCCEEDED) {
    if (const absl::Status status = on_published_(training.model(), training.version()); !status.ok()) {
      const uint64_t version = training.version();
      training.clear_version();
      training.clear_report();
      Fail(Annotate(status, absl::StrCat("version ", version, " was published, but is not served")), training);
    }
  }
  Finish(live, std::move(training));
}

void TrainingManager::Impl::TakeEvent(const TrainingEvent& event, LiveTraining& live) {
  if (!event.has_progress()) return;
  live.Update([&](Training& training) { *training.mutable_progress() = event.progress(); });
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

absl::StatusOr<std::unique_ptr<TrainingManager>> TrainingManager::Open(FileSystem& files, DatasetStore& datasets,
                                                                       TrainingManagerOptions options,
                                                                       OnPublished on_published) {
  absl::StatusOr<TrainingStore> store = TrainingStore::Open(files, options.root);
  if (!store.ok()) return store.status();
  absl::StatusOr<registry::ModelStore> models = registry::ModelStore::Open(files, options.root, /*clean_tmp=*/false);
  if (!models.ok()) return models.status();
  auto impl = std::make_unique<Impl>(files, datasets, *std::move(store), *std::move(models), std::move(options),
                                     std::move(on_published));
  if (absl::Status status = impl->Recover(); !status.ok()) return status;
  impl->StartRunners();
  return std::unique_ptr<TrainingManager>(new TrainingManager(std::move(impl)));
}

TrainingManager::TrainingManager(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TrainingManager::~TrainingManager() = default;

absl::StatusOr<Training> TrainingManager::Start(const TrainRequest& request) { return impl_->Start(request); }

absl::StatusOr<Training> TrainingManager::Get(std::string_view id) const {
  absl::StatusOr<std::shared_ptr<LiveTraining>> live = impl_->Find(id);
  if (!live.ok()) return live.status();
  return (*live)->Get();
}

std::vector<Training> TrainingManager::List(std::string_view model) const { return impl_->List(model); }

absl::StatusOr<Training> TrainingManager::Cancel(std::string_view id) { return impl_->Cancel(id); }

absl::StatusOr<std::unique_ptr<WatchToken>> TrainingManager::Watch(std::string_view id, Watcher watcher) {
  absl::StatusOr<std::shared_ptr<LiveTraining>> live = impl_->Find(id);
  if (!live.ok()) return live.status();
  return (*live)->Watch(std::move(watcher));
}

bool TrainingManager::UsesDataset(std::string_view dataset_id) const { return impl_->UsesDataset(dataset_id); }

}  // namespace densityd::training
