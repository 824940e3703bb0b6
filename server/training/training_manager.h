// Trainings: recorded durably, run in their own process each, supervised.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "density/v1/training.pb.h"
#include "server/base/file_system.h"
#include "server/training/dataset_store.h"

namespace densityd::training {

struct TrainingManagerOptions {
  std::string root;            ///< the server's root; trainings live in <root>/trainings/<id>/
  std::string data_root;       ///< where TrainRequest.file is looked up; empty: such requests are refused
  std::string worker_binary;   ///< started as `<worker_binary> train-worker <training folder>`
  std::string device = "cpu";  ///< handed to the worker
  int max_running = 1;         ///< trainings that run at the same time; the others wait QUEUED in order
  absl::Duration stop_grace = absl::Seconds(30);  ///< between asking a process to stop and killing it
  absl::Duration stall = absl::Seconds(120);      ///< silence of a process after which its training is `stalled`
  density::v1::TrainingLimits max_limits;         ///< most that a training may ask for, and the default; 0: none
  int max_deaths = 3;          ///< processes of one training that may die in a row without getting further
  size_t max_queued = 1000;    ///< trainings that may wait; those that an earlier server left wait in any case
  size_t keep_finished = 200;  ///< trainings that have ended and are remembered, the last to end; 0: all
};

/// Runs trainings, each in a process of its own that outlives a crash of the server. Valid transitions of a training:
///   QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED, QUEUED -> CANCELLED
///   RUNNING -> QUEUED  where its process died or the server stops: it goes on from its last checkpoint
/// Thread-safe.
class TrainingManager {
 public:
  /// `on_published(model, version)` is called after a training published a version, before its state is SUCCEEDED;
  /// its error makes the training FAILED. Called without locks held, on the thread that follows the training.
  using OnPublished = std::function<absl::Status(const std::string& model, uint64_t version)>;

  /// Opens <root>/trainings. A training whose process an earlier server started and that lives still is adopted; one
  /// whose process has ended is what it came to, or is queued to go on from its last checkpoint.
  static absl::StatusOr<std::unique_ptr<TrainingManager>> Open(FileSystem& files, DatasetStore& datasets,
                                                               TrainingManagerOptions options,
                                                               OnPublished on_published);
  /// As Stop; waits until all processes have ended.
  ~TrainingManager();

  /// Begins the end: asks every process to write a checkpoint and stop, and starts none. Their trainings are QUEUED
  /// then, and go on under the next server.
  void Stop();
  /// Whether no process runs, and what became of each is recorded. After Stop that stays so.
  bool IsIdle() const;

  /// Checks the request (everything that can be known without the whole data), records it durably and queues it.
  /// With an idempotency key that was used before, returns the training of then, or ALREADY_EXISTS where the request is
  /// another one. INVALID_ARGUMENT with the field, NOT_FOUND (dataset, file, version), FAILED_PRECONDITION (a file, and
  /// no data root), RESOURCE_EXHAUSTED (disk, or as many wait as may).
  absl::StatusOr<density::v1::Training> Start(const density::v1::TrainRequest& request);

  absl::StatusOr<density::v1::Training> Get(std::string_view id) const;
  /// Newest first; `model` empty: all.
  std::vector<density::v1::Training> List(std::string_view model) const;
  /// FAILED_PRECONDITION when it has ended. The training may still be RUNNING when this returns; it ends CANCELLED,
  /// whatever happens to the server. Where that cannot be promised, because the disk does not take it, the training
  /// goes on: the errors of FileSystem.
  absl::StatusOr<density::v1::Training> Cancel(std::string_view id);

  /// Calls `watcher` with the current state and then with every change, in order, until the returned token is
  /// destroyed or the state is final. Destruction waits for a call in progress. `watcher` must not block, destroy its
  /// own token or call Cancel or Watch from inside the call. A token may outlive the manager. NOT_FOUND.
  /// `after_revision` as in WatchTrainingRequest.
  using Watcher = std::function<void(const density::v1::Training&)>;
  absl::StatusOr<std::unique_ptr<class WatchToken>> Watch(std::string_view id, Watcher watcher,
                                                          uint64_t after_revision = 0);

  /// Deletes a dataset of `datasets`. FAILED_PRECONDITION while a training that has not ended uses it; NOT_FOUND.
  absl::Status DeleteDataset(std::string_view dataset_id);

 private:
  class Impl;
  explicit TrainingManager(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Ends a watch when destroyed.
class WatchToken {
 public:
  virtual ~WatchToken() = default;
};

}  // namespace densityd::training
