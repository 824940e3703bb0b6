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
  absl::Duration stop_grace = absl::Seconds(10);  ///< between asking a process to stop and killing it
};

/// Runs trainings. Valid transitions of a training:
///   QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED, QUEUED -> CANCELLED
/// Thread-safe.
class TrainingManager {
 public:
  /// `on_published(model, version)` is called after a training published a version, before its state is SUCCEEDED;
  /// its error makes the training FAILED. Called without locks held, on the thread that follows the training.
  using OnPublished = std::function<absl::Status(const std::string& model, uint64_t version)>;

  /// Opens <root>/trainings. A training that a former server left QUEUED is queued again; one that it left RUNNING is
  /// SUCCEEDED where its version was published, else FAILED, saying so.
  static absl::StatusOr<std::unique_ptr<TrainingManager>> Open(FileSystem& files, DatasetStore& datasets,
                                                               TrainingManagerOptions options,
                                                               OnPublished on_published);
  /// Stops every worker: its training becomes FAILED and says why. What is QUEUED stays so for the next server.
  ~TrainingManager();

  /// Checks the request (everything that can be known without the whole data), records it durably and queues it.
  /// INVALID_ARGUMENT with the field, NOT_FOUND (dataset, file), FAILED_PRECONDITION (a file, and no data root),
  /// RESOURCE_EXHAUSTED (disk).
  absl::StatusOr<density::v1::Training> Start(const density::v1::TrainRequest& request);

  absl::StatusOr<density::v1::Training> Get(std::string_view id) const;
  /// Newest first; `model` empty: all.
  std::vector<density::v1::Training> List(std::string_view model) const;
  /// FAILED_PRECONDITION when it has ended. The training may still be RUNNING when this returns; it ends CANCELLED.
  absl::StatusOr<density::v1::Training> Cancel(std::string_view id);

  /// Calls `watcher` with the current state and then with every change, in order, until the returned token is
  /// destroyed or the state is final. Destruction waits for a call in progress. `watcher` must not block, destroy its
  /// own token or call Cancel or Watch from inside the call. A token may outlive the manager. NOT_FOUND.
  using Watcher = std::function<void(const density::v1::Training&)>;
  absl::StatusOr<std::unique_ptr<class WatchToken>> Watch(std::string_view id, Watcher watcher);

  /// Whether a training that has not ended uses the dataset.
  bool UsesDataset(std::string_view dataset_id) const;

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
