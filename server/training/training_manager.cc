#include "server/training/training_manager.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/registry/names.h"
#include "server/training/ids.h"
#include "server/training/outcome.h"
#include "server/training/recovery.h"
#include "server/training/request_check.h"
#include "server/training/request_key.h"
#include "server/training/timestamps.h"
#include "server/training/training_manager_impl.h"
#include "server/training/warm_start.h"

namespace densityd::training {

using density::v1::Training;
using density::v1::TrainRequest;

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
  {
    absl::MutexLock lock(&mutex_);
    // With those that are being recorded, this one among them.
    if (queue_.size() + arriving_datasets_.size() > options_.max_queued) {
      return ResourceExhausted("trainings",
                               absl::StrCat(queue_.size(), " trainings wait, and ", options_.max_queued,
                                            " may (--max-queued-trainings): come back when some have run, or cancel "
                                            "those that nobody needs"));
    }
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
  bool was_queued = false;
  {
    absl::MutexLock one_at_a_time(&cancelling_);
    // First: from here on a server that starts ends the training.
    if (!IsCancelled(training.id())) {
      if (const absl::Status status = store_.RequestCancel(id); !status.ok()) {
        return Annotate(status, "the training goes on: its cancellation could not be recorded");
      }
    }
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
  ForgetOld();
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
