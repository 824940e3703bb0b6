#include "server/training/dataset_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/base/errors.h"
#include "server/base/logging.h"
#include "server/base/strings.h"
#include "server/registry/names.h"
#include "server/training/columns.h"
#include "server/training/dataset_file.h"
#include "server/training/ids.h"
#include "server/training/record_file.h"
#include "server/training/timestamps.h"

namespace densityd::training {
namespace {

using density::v1::Dataset;

constexpr size_t kMaxDisplayNameBytes = 128;
// <root>/datasets/<id>/: `dataset`, a record file (record_file.h) with a density.v1.Dataset; `rows`, see
// dataset_file.h.
constexpr char kDescriptionFile[] = "/dataset";
constexpr char kRowsFile[] = "/rows";

class Writer : public DatasetWriter {
 public:
  Writer(FileSystem& files, std::string root, uint64_t max_bytes, Dataset dataset)
      : files_(files),
        root_(std::move(root)),
        max_bytes_(max_bytes),
        dataset_(std::move(dataset)),
        folder_(absl::StrCat(root_, "/tmp/", dataset_.id())) {}

  ~Writer() override {
    file_.reset();
    if (const absl::Status status = files_.RemoveRecursively(folder_); !status.ok()) {
      Log(LogLevel::kWarning, "remains of an upload could not be removed",
          {{"folder", folder_}, {"error", ToStd(status.message())}});
    }
  }

  absl::Status Append(const ConstMatrix& rows) override {
    if (absl::Status status = AppendRows(rows); !status.ok()) {
      failed_ = true;
      return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Dataset> Commit() override {
    if (failed_) return absl::FailedPreconditionError("part of the rows was refused; begin the upload again");
    if (file_ == nullptr) return InvalidArgument("rows", "the upload has no rows");
    if (absl::Status status = Publish(); !status.ok()) {
      failed_ = true;
      return status;
    }
    return dataset_;
  }

 private:
  absl::Status AppendRows(const ConstMatrix& rows) {
    if (rows.rows == 0 || rows.cols == 0)
      return InvalidArgument("rows", "a chunk needs at least one row and one column");
    if (file_ == nullptr) {
      if (absl::Status status = Begin(rows.cols); !status.ok()) return status;
    }
    return file_->Append(rows, "rows", may_be_missing_);
  }

  absl::Status Begin(size_t cols) {
    if (cols > kMaxDatasetColumns) {
      return InvalidArgument("rows", absl::StrCat("has ", cols, " columns; the limit is ", kMaxDatasetColumns));
    }
    if (dataset_.columns().empty()) {
      for (std::string& name : DefaultColumnNames(cols)) dataset_.add_columns(std::move(name));
    }
    if (static_cast<size_t>(dataset_.columns_size()) != cols) {
      return InvalidArgument("columns",
                             absl::StrCat("names ", dataset_.columns_size(), " columns; the rows have ", cols));
    }
    if (absl::Status status = FindMissingColumns(); !status.ok()) return status;
    if (absl::Status status = files_.MakeFolders(folder_); !status.ok()) return status;
    absl::StatusOr<std::unique_ptr<DatasetFileWriter>> file =
        DatasetFileWriter::Create(files_, folder_ + kRowsFile, cols, max_bytes_);
    if (!file.ok()) return file.status();
    file_ = *std::move(file);
    return absl::OkStatus();
  }

  absl::Status FindMissingColumns() {
    const auto& columns = dataset_.columns();
    may_be_missing_.assign(columns.size(), false);
    for (int i = 0; i < dataset_.missing_columns_size(); ++i) {
      const auto column = std::find(columns.begin(), columns.end(), dataset_.missing_columns(i));
      if (column == columns.end()) {
        return InvalidArgument(absl::StrCat("missing_columns[", i, "]"),
                               absl::StrCat(Quote(dataset_.missing_columns(i)), " is no column of the rows"));
      }
      may_be_missing_[column - columns.begin()] = true;
    }
    return absl::OkStatus();
  }

  absl::Status Publish() {
    if (absl::Status status = file_->Finish(); !status.ok()) return status;
    dataset_.set_rows(file_->rows());
    dataset_.set_bytes(file_->bytes());
    *dataset_.mutable_create_time() = ToTimestamp(Clock::Real().Now());
    if (absl::Status status = WriteRecordFile(files_, folder_ + kDescriptionFile, dataset_.SerializeAsString());
        !status.ok()) {
      return status;
    }
    if (absl::Status status = files_.SyncFolder(folder_); !status.ok()) return status;
    const std::string datasets = root_ + "/datasets";
    const std::string target = absl::StrCat(datasets, "/", dataset_.id());
    if (absl::Status status = files_.RenameExclusive(folder_, target); !status.ok()) return status;
    if (absl::Status status = files_.SyncFolder(datasets); !status.ok()) {
      // Not known to be durable: take it back, so that an error means that nothing was stored.
      files_.RemoveRecursively(target).IgnoreError();
      return status;
    }
    return absl::OkStatus();
  }

  FileSystem& files_;
  const std::string root_;
  const uint64_t max_bytes_;
  Dataset dataset_;
  const std::string folder_;
  std::unique_ptr<DatasetFileWriter> file_;
  std::vector<bool> may_be_missing_;  // of each column
  bool failed_ = false;
};

bool IsNewer(const Dataset& a, const Dataset& b) {
  const absl::Time a_time = FromTimestamp(a.create_time());
  const absl::Time b_time = FromTimestamp(b.create_time());
  return a_time != b_time ? a_time > b_time : a.id() > b.id();
}

}  // namespace

absl::StatusOr<DatasetStore> DatasetStore::Open(FileSystem& files, std::string root, uint64_t max_dataset_bytes) {
  if (absl::Status status = files.MakeFolders(root + "/datasets"); !status.ok()) return status;
  if (absl::Status status = files.MakeFolders(root + "/tmp"); !status.ok()) return status;
  return DatasetStore(files, std::move(root), max_dataset_bytes);
}

absl::StatusOr<std::unique_ptr<DatasetWriter>> DatasetStore::Create(std::string display_name,
                                                                    std::vector<std::string> columns,
                                                                    std::vector<std::string> missing_columns) {
  if (display_name.size() > kMaxDisplayNameBytes) {
    return InvalidArgument("display_name",
                           absl::StrCat("has ", display_name.size(), " bytes; the limit is ", kMaxDisplayNameBytes));
  }
  if (absl::Status status = CheckColumnNames("columns", columns); !status.ok()) return status;
  if (absl::Status status = CheckColumnNames("missing_columns", missing_columns); !status.ok()) return status;
  Dataset dataset;
  dataset.set_id(NewId("dataset", Clock::Real().Now()));
  dataset.set_display_name(std::move(display_name));
  for (std::string& column : columns) dataset.add_columns(std::move(column));
  for (std::string& column : missing_columns) dataset.add_missing_columns(std::move(column));
  return std::make_unique<Writer>(*files_, root_, max_dataset_bytes_, std::move(dataset));
}

absl::StatusOr<Dataset> DatasetStore::Get(std::string_view id) const {
  if (absl::Status status = registry::CheckId("dataset", id); !status.ok()) return status;
  const std::string path = absl::StrCat(root_, "/datasets/", ToAbsl(id), kDescriptionFile);
  absl::StatusOr<std::string> record = ReadRecordFile(*files_, path);
  if (absl::IsNotFound(record.status())) return NotFound("dataset", id, "no such dataset");
  if (!record.ok()) return record.status();
  Dataset dataset;
  if (!dataset.ParseFromString(*record) || dataset.id() != id || dataset.columns().empty()) {
    return DataLoss(path, "dataset", "does not describe this dataset");
  }
  return dataset;
}

absl::StatusOr<std::vector<Dataset>> DatasetStore::List() const {
  absl::StatusOr<std::vector<std::string>> ids = files_->List(root_ + "/datasets");
  if (!ids.ok()) return ids.status();
  std::vector<Dataset> datasets;
  for (const std::string& id : *ids) {
    absl::StatusOr<Dataset> dataset = Get(id);
    if (absl::IsNotFound(dataset.status())) continue;  // deleted meanwhile
    if (!dataset.ok()) {
      Log(LogLevel::kWarning, "dataset left out of the list",
          {{"dataset", id}, {"error", ToStd(dataset.status().message())}});
      continue;
    }
    datasets.push_back(*std::move(dataset));
  }
  std::sort(datasets.begin(), datasets.end(), IsNewer);
  return datasets;
}

absl::Status DatasetStore::Delete(std::string_view id) {
  if (absl::Status status = registry::CheckId("dataset", id); !status.ok()) return status;
  const std::string folder = absl::StrCat(root_, "/datasets/", ToAbsl(id));
  const std::string removed = absl::StrCat(root_, "/tmp/deleted-", ToAbsl(id));
  absl::Status renamed = files_->Rename(folder, removed);
  if (absl::IsNotFound(renamed)) return NotFound("dataset", id, "no such dataset");
  if (!renamed.ok()) return renamed;
  if (absl::Status status = files_->SyncFolder(root_ + "/datasets"); !status.ok()) return status;
  return files_->RemoveRecursively(removed);
}

absl::StatusOr<std::unique_ptr<RowSource>> DatasetStore::OpenRows(std::string_view id) const {
  absl::StatusOr<Dataset> dataset = Get(id);
  if (!dataset.ok()) return dataset.status();
  const std::string path = absl::StrCat(root_, "/datasets/", ToAbsl(id), kRowsFile);
  absl::StatusOr<std::unique_ptr<RowSource>> rows =
      OpenDatasetFile(*files_, path, {dataset->columns().begin(), dataset->columns().end()});
  if (absl::IsNotFound(rows.status())) return DataLoss(path, "", "is missing");
  if (!rows.ok()) return rows.status();
  if ((*rows)->rows() != dataset->rows() || (*rows)->cols() != static_cast<size_t>(dataset->columns_size())) {
    return DataLoss(path, "",
                    absl::StrCat("holds ", (*rows)->rows(), " rows of ", (*rows)->cols(), " columns; it should hold ",
                                 dataset->rows(), " of ", dataset->columns_size()));
  }
  return rows;
}

}  // namespace densityd::training
