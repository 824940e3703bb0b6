// What a TrainingManager knows and does: training_manager.cc has the requests, training_manager_runs.cc the threads
// that run trainings. For these two only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/registry/model_store.h"
#include "server/training/live_training.h"
#include "server/training/training_manager.h"
#include "server/training/training_queue.h"
#include "server/training/training_run.h"
#include "server/training/training_store.h"

namespace densityd::training {

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

  absl::StatusOr<density::v1::Training> Start(const density::v1::TrainRequest& request);
  absl::StatusOr<density::v1::Training> Cancel(std::string_view id);
  absl::StatusOr<std::shared_ptr<LiveTraining>> Find(std::string_view id) const;
  std::vector<density::v1::Training> List(std::string_view model) const;
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

  absl::StatusOr<density::v1::Training> Record(const density::v1::TrainRequest& request, const std::string& digest);
  // The training that has the key, if one has.
  absl::StatusOr<std::optional<density::v1::Training>> FindByKey(const std::string& key,
                                                                 const std::string& digest) const
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
  void Finish(LiveTraining& live, density::v1::Training final_state);
  // Forgets the trainings that ended first, down to the number that is kept.
  void ForgetOld();
  void AddEntry(const TrainingJob& job, RunRecord record, density::v1::Training training)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  FileSystem& files_;
  DatasetStore& datasets_;
  TrainingStore store_;
  const registry::ModelStore models_;
  const TrainingManagerOptions options_;
  const OnPublished on_published_;

  // Held while a cancellation is recorded, so that none takes back what another one has promised.
  absl::Mutex cancelling_ ABSL_ACQUIRED_BEFORE(mutex_);
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

}  // namespace densityd::training
