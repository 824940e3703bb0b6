#include "server/training/training_store.h"

#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/strings.h"
#include "server/training/checkpoint.h"
#include "server/training/dataset_file.h"
#include "server/training/record_file.h"
#include "server/training/worker_lock.h"

namespace densityd::training {
namespace {

using density::v1::Training;

constexpr char kJobFile[] = "/job";
constexpr char kRowsFile[] = "/rows";
constexpr char kOutcomeFile[] = "/outcome";
constexpr char kRunFile[] = "/run";
constexpr char kCancelFile[] = "/cancel";

}  // namespace

bool IsFinal(density::v1::TrainingState state) {
  return state == density::v1::SUCCEEDED || state == density::v1::FAILED || state == density::v1::CANCELLED;
}

absl::StatusOr<TrainingJob> ReadJobFile(FileSystem& files, const std::string& folder) {
  const std::string path = folder + kJobFile;
  absl::StatusOr<std::string> record = ReadRecordFile(files, path);
  if (!record.ok()) return record.status();
  TrainingJob job;
  if (!job.ParseFromString(*record)) return DataLoss(path, "job", "is no training job");
  return job;
}

absl::StatusOr<bool> IsCancelRequested(FileSystem& files, const std::string& folder) {
  return files.Exists(folder + kCancelFile);
}

absl::StatusOr<std::unique_ptr<RowSource>> OpenInlineRows(FileSystem& files, const std::string& folder) {
  absl::StatusOr<std::unique_ptr<RowSource>> rows = OpenDatasetFile(files, folder + kRowsFile);
  if (absl::IsNotFound(rows.status())) return DataLoss(folder + kRowsFile, "", "is missing");
  return rows;
}

absl::StatusOr<TrainingStore> TrainingStore::Open(FileSystem& files, std::string root) {
  if (absl::Status status = files.MakeFolders(root + "/trainings"); !status.ok()) return status;
  if (absl::Status status = files.MakeFolders(root + "/tmp"); !status.ok()) return status;
  return TrainingStore(files, std::move(root));
}

absl::Status TrainingStore::Create(const TrainingJob& job, const ConstMatrix& rows) {
  const std::string folder = absl::StrCat(root_, "/tmp/", job.id());
  absl::Status status = WriteFolder(folder, job, rows);
  if (status.ok()) status = files_->RenameExclusive(folder, Folder(job.id()));
  if (status.ok()) {
    status = files_->SyncFolder(root_ + "/trainings");
    // Not known to be durable: take it back, so that an error means that nothing was recorded.
    if (!status.ok()) files_->RemoveRecursively(Folder(job.id())).IgnoreError();
    return status;
  }
  files_->RemoveRecursively(folder).IgnoreError();
  return status;
}

absl::Status TrainingStore::WriteFolder(const std::string& folder, const TrainingJob& job, const ConstMatrix& rows) {
  if (absl::Status status = files_->MakeFolder(folder); !status.ok()) return status;
  if (rows.data != nullptr) {
    absl::StatusOr<std::unique_ptr<DatasetFileWriter>> file =
        DatasetFileWriter::Create(*files_, folder + kRowsFile, rows.cols, std::numeric_limits<uint64_t>::max());
    if (!file.ok()) return file.status();
    // The request's check knows which columns may be.
    const std::vector<bool> any_may_be_missing(rows.cols, true);
    if (absl::Status status = (*file)->Append(rows, "rows", any_may_be_missing); !status.ok()) return status;
    if (absl::Status status = (*file)->Finish(); !status.ok()) return status;
  }
  if (absl::Status status = WriteRecordFile(*files_, folder + kJobFile, job.SerializeAsString()); !status.ok()) {
    return status;
  }
  return files_->SyncFolder(folder);
}

absl::StatusOr<std::vector<std::string>> TrainingStore::List() const { return files_->List(root_ + "/trainings"); }

absl::StatusOr<TrainingJob> TrainingStore::ReadJob(std::string_view id) const {
  absl::StatusOr<TrainingJob> job = ReadJobFile(*files_, Folder(id));
  if (absl::IsNotFound(job.status())) return DataLoss(Folder(id) + kJobFile, "", "is missing");
  if (job.ok() && job->id() != id) return DataLoss(Folder(id) + kJobFile, "job", "belongs to another training");
  return job;
}

absl::StatusOr<Training> TrainingStore::ReadOutcome(std::string_view id) const {
  const std::string path = Folder(id) + kOutcomeFile;
  absl::StatusOr<std::string> record = ReadRecordFile(*files_, path);
  if (!record.ok()) return record.status();
  Training training;
  if (!training.ParseFromString(*record) || training.id() != id || !IsFinal(training.state())) {
    return DataLoss(path, "outcome", "is no final state of this training");
  }
  return training;
}

absl::Status TrainingStore::WriteOutcome(const Training& training) {
  const std::string& id = training.id();
  if (absl::Status status =
          WriteRecordFile(*files_, Folder(id) + kOutcomeFile, training.SerializeAsString(), TemporaryPath(id));
      !status.ok()) {
    return status;
  }
  return RemoveWork(id);
}

absl::Status TrainingStore::RemoveWork(std::string_view id) {
  const std::string folder = Folder(id);
  for (const char* file : {kRowsFile, kRunFile, kCancelFile, kWorkerLockFile}) {
    absl::Status removed = files_->Remove(folder + file);
    if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  }
  if (absl::Status status = files_->RemoveRecursively(folder + kTemporaryFolder); !status.ok()) return status;
  const absl::StatusOr<std::vector<std::string>> names = files_->List(folder);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    // Of a process that died as it wrote a file anew.
    if (!absl::StrContains(name, ".tmp-")) continue;
    if (absl::Status status = files_->Remove(absl::StrCat(folder, "/", name)); !status.ok()) return status;
  }
  return CheckpointStore(*files_, folder).RemoveAll();
}

absl::StatusOr<RunRecord> TrainingStore::ReadRun(std::string_view id) const {
  const std::string path = Folder(id) + kRunFile;
  absl::StatusOr<std::string> bytes = ReadRecordFile(*files_, path);
  if (!bytes.ok()) return bytes.status();
  RunRecord record;
  if (!record.ParseFromString(*bytes)) return DataLoss(path, "run", "is no record of a training's processes");
  return record;
}

absl::Status TrainingStore::WriteRun(std::string_view id, const RunRecord& record) {
  return WriteRecordFile(*files_, Folder(id) + kRunFile, record.SerializeAsString(), TemporaryPath(id));
}

absl::Status TrainingStore::RequestCancel(std::string_view id) {
  const std::string path = Folder(id) + kCancelFile;
  absl::Status status = WriteFileAtomically(*files_, path, "", TemporaryPath(id));
  // It may be there, but not for sure: then it should not be.
  if (!status.ok()) files_->Remove(path).IgnoreError();
  return status;
}

absl::StatusOr<bool> TrainingStore::IsCancelRequested(std::string_view id) const {
  return training::IsCancelRequested(*files_, Folder(id));
}

absl::Status TrainingStore::Remove(std::string_view id) {
  const std::string gone = TemporaryPath(id);
  if (absl::Status status = files_->Rename(Folder(id), gone); !status.ok()) return status;
  return files_->RemoveRecursively(gone);
}

std::string TrainingStore::Folder(std::string_view id) const { return absl::StrCat(root_, "/trainings/", ToAbsl(id)); }

std::string TrainingStore::TemporaryPath(std::string_view id) const {
  return absl::StrCat(root_, "/tmp/", ToAbsl(id), "-", UniqueSuffix());
}

}  // namespace densityd::training
