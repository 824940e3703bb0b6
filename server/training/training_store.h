// The folder of one training:
//
//   <root>/trainings/<id>/
//     job          record file (record_file.h) with one TrainingJob: the request. Written before it is queued
//     rows         rows that came inside the request (dataset_file.h).
//     run          record file with one RunRecord: what the server knows of the training's processes
//     cancel       present from the moment at which a client cancelled the training
//     events       record file of TrainingEvents, appended by the training process (event_log.h)
//     checkpoint*  what it goes on from when it died (checkpoint.h)
//     worker       locked by the training process as long as it lives (worker_lock.h)
//     tmp/         what that process is writing, the version that it publishes above all; emptied by the next one
//     worker.log   standard output and error of that process
//     outcome      record file with one density.v1.Training in a final state. Its presence ends the training
//
// `rows`, `run`, `cancel`, checkpoints, `worker` and `tmp` are removed when the training has ended.
//
// A folder appears whole, by a rename from <root>/tmp; what the server writes into it later is written all or nothing,
// by a rename from there too. So whenever the server or the machine stops, a training is found as it was or not at all.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"
#include "server/base/file_system.h"
#include "server/base/matrix.h"
#include "server/training/row_source.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// The training's files inside its folder.
inline constexpr char kEventsFile[] = "/events";
inline constexpr char kWorkerLogFile[] = "/worker.log";
inline constexpr char kTemporaryFolder[] = "/tmp";

/// The folder <root>/trainings. Thread-safe as long as one training is not written from two threads.
class TrainingStore {
 public:
  static absl::StatusOr<TrainingStore> Open(FileSystem& files, std::string root);

  /// Writes the folder of a new training, durably and all or nothing. `rows` is empty where the request names its data.
  /// INVALID_ARGUMENT for `rows` with a non-finite number; RESOURCE_EXHAUSTED where the disk is full.
  absl::Status Create(const TrainingJob& job, const ConstMatrix& rows);
  /// Ids of all trainings, sorted.
  absl::StatusOr<std::vector<std::string>> List() const;
  /// DATA_LOSS where it is damaged.
  absl::StatusOr<TrainingJob> ReadJob(std::string_view id) const;
  /// NOT_FOUND while the training has not ended; DATA_LOSS.
  absl::StatusOr<density::v1::Training> ReadOutcome(std::string_view id) const;
  /// Ends a training, and removes what only an unfinished one needs. Precondition: its state is final.
  absl::Status WriteOutcome(const density::v1::Training& training);
  /// Removes what only an unfinished training needs. WriteOutcome has done so, unless the server died meanwhile.
  absl::Status RemoveWork(std::string_view id);

  /// NOT_FOUND while no process was started; DATA_LOSS.
  absl::StatusOr<RunRecord> ReadRun(std::string_view id) const;
  absl::Status WriteRun(std::string_view id, const RunRecord& record);
  /// Notes durably that the training is to end CANCELLED.
  absl::Status RequestCancel(std::string_view id);
  absl::StatusOr<bool> IsCancelRequested(std::string_view id) const;
  /// Forgets a training: its folder goes, all at once for whoever looks.
  absl::Status Remove(std::string_view id);

  std::string Folder(std::string_view id) const;

 private:
  TrainingStore(FileSystem& files, std::string root) : files_(&files), root_(std::move(root)) {}
  absl::Status WriteFolder(const std::string& folder, const TrainingJob& job, const ConstMatrix& rows);
  /// A name for half-written work of the training, in the folder that each server empties at its start.
  std::string TemporaryPath(std::string_view id) const;

  FileSystem* files_;
  std::string root_;
};

/// Whether the state is SUCCEEDED, FAILED or CANCELLED.
bool IsFinal(density::v1::TrainingState state);

/// What a training process reads: the job of its folder. DATA_LOSS, NOT_FOUND.
absl::StatusOr<TrainingJob> ReadJobFile(FileSystem& files, const std::string& folder);
/// Whether a client has cancelled the training of this folder.
absl::StatusOr<bool> IsCancelRequested(FileSystem& files, const std::string& folder);
/// The rows that came inside the request. DATA_LOSS.
absl::StatusOr<std::unique_ptr<RowSource>> OpenInlineRows(FileSystem& files, const std::string& folder);

}  // namespace densityd::training
