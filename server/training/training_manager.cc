#include "server/training/training_manager.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
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
#include "server/training/request_key.h"
#include "server/training/resumption.h"
#include "server/training/timestamps.h"
#include "server/training/training_queue.h"
#include "server/training/training_run.h"
#include "server/training/training_store.h"
#include "server/training/warm_start.h"

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
  // Starts the threads that run trainings, one at a time each.
  void StartRunners();
  void Stop();
  bool IsIdle() const;

  absl::StatusOr<Training> Start(const TrainRequest& request);
  absl::StatusOr<Training> Cancel(std::string_view id);
  absl::StatusOr<std::shared_ptr<LiveTraining>> Find(std::string_view id) const;
  std::vector<Training> List(std::string_view model) const;
  absl::Status DeleteDataset(std::string_view dataset_id);

 private:
  struct Entry {
    TrainingJob job;
    RunRecord record;  // belongs to the thread that runs the training, while one does
    std::shared_ptr<LiveTraining> live;
    std::shared_ptr<TrainingRun> run;  // while it runs
    bool cancelled = false;            // a client asked for that
    bool is_left_alone = false;        // see RecoveredTraining
  };

  // A Train call in progress: nobody else uses its key or deletes its dataset meanwhile.
  class Arrival;

  absl::StatusOr<Training> Record(const TrainRequest& request, const std::string& digest);
  // The training that has the key, if one has.
  absl::StatusOr<std::optional<Training>> FindByKey(const std::string& key, const std::string& digest) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool UsesDataset(std::string_view dataset_id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void RunLoop();
  bool WorkToDo() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !adopted_.empty() || (!queue_.empty() && running_ < options_.max_running);
  }
  RunOptions OptionsOf(const TrainingJob& job, const RunRecord& record) const;
  // Returns whether the training is to run again.
  bool RunTraining(const TrainingJob& job, RunRecord& record, LiveTraining& live, TrainingRun& run);
  // What follows from the end of a process: whether the training is to run again.
  bool Settle(const TrainingJob& job, const RunResult& result, RunRecord& record, LiveTraining& live);
  void WriteRun(const std::string& id, const RunRecord& record);
  bool IsCancelled(const std::string& id) const ABSL_LOCKS_EXCLUDED(mutex_);
  bool IsStopping() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Completes, records and shows a final state.
  void Finish(LiveTraining& live, Training final_state);
  // Forgets the oldest trainings that have ended, down to the number that is kept.
  void ForgetOld();
  void AddEntry(const TrainingJob& job, RunRecord record, Training training) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  FileSystem& files_;
  DatasetStore& datasets_;
  TrainingStore store_;
  const registry::ModelStore models_;
  const TrainingManagerOptions options_;
  const OnPublished on_published_;

  mutable absl::Mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_ ABSL_GUARDED_BY(mutex_);
  TrainingQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> adopted_ ABSL_GUARDED_BY(mutex_);  // their processes run; nobody follows them yet
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::string> ids_by_key_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> arriving_keys_ ABSL_GUARDED_BY(mutex_);
  std::multiset<std::string, std::less<>> arriving_datasets_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string, std::less<>> dying_datasets_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> runners_;
};

TrainingManager::Impl::~Impl() {
  Stop();
  for (std::thread& runner : runners_) runner.join();
}

void TrainingManager::Impl::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  for (auto& [id, entry] : entries_) {
    if (entry.run != nullptr) entry.run->RequestStop();
  }
}

bool TrainingManager::Impl::IsIdle() const {
  absl::MutexLock lock(&mutex_);
  return running_ == 0;
}

absl::Status TrainingManager::Impl::Recover() {
  absl::StatusOr<std::vector<RecoveredTraining>> found = RecoverTrainings(files_, store_, models_, options_.max_deaths);
  if (!found.ok()) return found.status();
  for (RecoveredTraining& recovered : *found) {
    // Published while nobody looked, perhaps after the models were loaded.
    if (recovered.ended_now && recovered.training.state() == density::v1::SUCCEEDED) {
      const absl::Status status = on_published_(recovered.training.model(), recovered.training.version());
      if (!status.ok()) {
        Log(LogLevel::kError, "a version that was published while the server was away is not served",
            {{"training", recovered.training.id()}, {"error", ToStd(status.message())}});
      }
    }
    absl::MutexLock lock(&mutex_);
    const std::string id = recovered.training.id();
    AddEntry(recovered.job, std::move(recovered.record), std::move(recovered.training));
    Entry& entry = entries_.find(id)->second;
    entry.cancelled = recovered.cancelled;
    entry.is_left_alone = recovered.is_left_alone;
  }
  ForgetOld();
  return absl::OkStatus();
}

void TrainingManager::Impl::StartRunners() {
  size_t count = static_cast<size_t>(options_.max_running);
  {
    absl::MutexLock lock(&mutex_);
    count += adopted_.size();
  }
  for (size_t i = 0; i < count; ++i) runners_.emplace_back([this] { RunLoop(); });
}

void TrainingManager::Impl::AddEntry(const TrainingJob& job, RunRecord record, Training training) {
  Entry entry;
  entry.job = job;
  entry.record = std::move(record);
  std::string id = training.id();
  if (training.state() == density::v1::QUEUED) queue_.Add(training);
  if (training.state() == density::v1::RUNNING) adopted_.push_back(id);
  if (!job.request().idempotency_key().empty()) ids_by_key_[job.request().idempotency_key()] = id;
  entry.live = std::make_shared<LiveTraining>(std::move(training));
  entries_.insert_or_assign(std::move(id), std::move(entry));
}

class TrainingManager::Impl::Arrival {
 public:
  // Waits until nobody else does anything with the key or deletes the dataset.
  Arrival(Impl& manager, const TrainRequest& request)
      : manager_(manager), key_(request.idempotency_key()), dataset_(request.dataset()) {
    const auto is_free = [this]() ABSL_SHARED_LOCKS_REQUIRED(manager_.mutex_) {
      return manager_.arriving_keys_.count(key_) == 0 && manager_.dying_datasets_.count(dataset_) == 0;
    };
    absl::MutexLock lock(&manager_.mutex_, absl::Condition(&is_free));
    if (!key_.empty()) manager_.arriving_keys_.insert(key_);
    manager_.arriving_datasets_.insert(dataset_);
  }
  Arrival(const Arrival&) = delete;
  Arrival& operator=(const Arrival&) = delete;
  ~Arrival() {
    absl::MutexLock lock(&manager_.mutex_);
    manager_.arriving_keys_.erase(key_);
    manager_.arriving_datasets_.erase(manager_.arriving_datasets_.find(dataset_));
  }

 private:
  Impl& manager_;
  const std::string key_;
  const std::string dataset_;
};

absl::StatusOr<Training> TrainingManager::Impl::Start(const TrainRequest& request) {
  const std::string& key = request.idempotency_key();
  if (absl::Status status = CheckRequestKey(key); !status.ok()) return status;
  const std::string digest = key.empty() ? "" : RequestDigest(request);
  const Arrival arrival(*this, request);
  if (!key.empty()) {
    absl::MutexLock lock(&mutex_);
    absl::StatusOr<std::optional<Training>> before = FindByKey(key, digest);
    if (!before.ok()) return before.status();
    if (before->has_value()) return **std::move(before);
  }
  return Record(request, digest);
}

absl::StatusOr<std::optional<Training>> TrainingManager::Impl::FindByKey(const std::string& key,
                                                                         const std::string& digest) const {
  const auto id = ids_by_key_.find(key);
  if (id == ids_by_key_.end()) return std::nullopt;
  const Entry& entry = entries_.find(id->second)->second;
  if (entry.job.request_sha256() == digest) return entry.live->Get();
  return AlreadyExists("training", id->second,
                       absl::StrCat("idempotency_key: training ", id->second,
                                    " was started with this key by another request; use a fresh key"));
}

absl::StatusOr<Training> TrainingManager::Impl::Record(const TrainRequest& given, const std::string& digest) {
  const absl::Time now = Clock::Real().Now();
  TrainingJob job;
  TrainRequest request = given;
  if (absl::Status status = ResolveWarmStart(models_, request, job); !status.ok()) return status;
  absl::StatusOr<density::v1::TrainingLimits> limits = ResolveLimits(request.limits(), options_.max_limits);
  if (!limits.ok()) return limits.status();
  absl::StatusOr<ConstMatrix> rows = CheckTrainRequest(request, datasets_, options_.data_root);
  if (!rows.ok()) return rows.status();
  job.set_id(NewId("training", now));
  *job.mutable_create_time() = ToTimestamp(now);
  *job.mutable_request() = request;
  job.mutable_request()->clear_rows();
  job.set_inline_rows(rows->data != nullptr);
  job.set_data_root(options_.data_root);
  job.set_device(options_.device);
  job.set_request_sha256(digest);
  *job.mutable_limits() = *std::move(limits);
  if (absl::Status status = store_.Create(job, *rows); !status.ok()) return status;

  Training training = QueuedTraining(job);
  absl::MutexLock lock(&mutex_);
  AddEntry(job, RunRecord(), training);
  return training;
}

absl::StatusOr<Training> TrainingManager::Impl::Cancel(std::string_view id) {
  absl::StatusOr<std::shared_ptr<LiveTraining>> live = Find(id);
  if (!live.ok()) return live.status();
  Training training = (*live)->Get();
  if (IsFinal(training.state())) {
    return FailedPrecondition("training", id,
                              absl::StrCat("has already ended: ", density::v1::TrainingState_Name(training.state())));
  }
  // First: from here on a server that starts ends the training.
  if (const absl::Status status = store_.RequestCancel(id); !status.ok()) {
    Log(LogLevel::kError, "a cancellation is not durable: a restart now would forget it",
        {{"training", std::string(id)}, {"error", ToStd(status.message())}});
  }
  bool was_queued = false;
  {
    absl::MutexLock lock(&mutex_);
    const auto entry = entries_.find(id);
    if (entry == entries_.end()) return NotFound("training", id, "no such training");
    entry->second.cancelled = true;
    was_queued = queue_.Remove(training);
    if (entry->second.run != nullptr) entry->second.run->RequestStop();
  }
  if (!was_queued) return (*live)->Get();
  training.set_state(density::v1::CANCELLED);
  Finish(**live, training);
  return (*live)->Get();
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
  if (arriving_datasets_.find(dataset_id) != arriving_datasets_.end()) return true;
  return std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.job.request().dataset() == dataset_id && !IsFinal(entry.second.live->Get().state());
  });
}

absl::Status TrainingManager::Impl::DeleteDataset(std::string_view dataset_id) {
  if (absl::Status status = registry::CheckId("id", dataset_id); !status.ok()) return status;
  {
    absl::MutexLock lock(&mutex_);
    if (UsesDataset(dataset_id)) {
      return FailedPrecondition("dataset", dataset_id,
                                "a training that has not ended uses the dataset; wait for it or cancel it");
    }
    dying_datasets_.emplace(dataset_id);
  }
  absl::Status status = datasets_.Delete(dataset_id);
  absl::MutexLock lock(&mutex_);
  dying_datasets_.erase(std::string(dataset_id));
  return status;
}

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
  return entries_.find(id)->second.cancelled;
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

absl::StatusOr<std::unique_ptr<WatchToken>> TrainingManager::Watch(std::string_view id, Watcher watcher,
                                                                   uint64_t after_revision) {
  absl::StatusOr<std::shared_ptr<LiveTraining>> live = impl_->Find(id);
  if (!live.ok()) return live.status();
  return (*live)->Watch(after_revision, std::move(watcher));
}

absl::Status TrainingManager::DeleteDataset(std::string_view dataset_id) { return impl_->DeleteDataset(dataset_id); }

void TrainingManager::Stop() { impl_->Stop(); }

bool TrainingManager::IsIdle() const { return impl_->IsIdle(); }

}  // namespace densityd::training
