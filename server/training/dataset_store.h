// Uploaded rows on disk: <root>/datasets/<id>/, chunked, each chunk checksummed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/datasets.pb.h"
#include "server/base/file_system.h"
#include "server/base/matrix.h"
#include "server/training/row_source.h"

namespace densityd::training {

/// One upload in progress, under <root>/tmp. Nothing remains of it unless Commit succeeded.
class DatasetWriter {
 public:
  virtual ~DatasetWriter() = default;
  /// Appends rows (n, cols). INVALID_ARGUMENT (other cols than before; a non-finite number, but NaN in a column that
  /// may be missing, with its row in the whole dataset), RESOURCE_EXHAUSTED (over the limit, or the disk is full).
  virtual absl::Status Append(const ConstMatrix& rows) = 0;
  /// Makes the dataset visible, all or nothing. INVALID_ARGUMENT where it has no rows.
  virtual absl::StatusOr<density::v1::Dataset> Commit() = 0;
};

/// Thread-safe.
class DatasetStore {
 public:
  /// `max_dataset_bytes` bounds one dataset.
  static absl::StatusOr<DatasetStore> Open(FileSystem& files, std::string root, uint64_t max_dataset_bytes);

  /// Begins an upload. `columns` may be empty; `missing_columns` are those of them that may hold NaN. INVALID_ARGUMENT
  /// for bad names, at the first rows for names of no column.
  absl::StatusOr<std::unique_ptr<DatasetWriter>> Create(std::string display_name, std::vector<std::string> columns,
                                                        std::vector<std::string> missing_columns = {});
  absl::StatusOr<density::v1::Dataset> Get(std::string_view id) const;
  /// Newest first.
  absl::StatusOr<std::vector<density::v1::Dataset>> List() const;
  /// NOT_FOUND. The caller makes sure that nobody uses it.
  absl::Status Delete(std::string_view id);
  /// Its rows, as OpenDatasetFile. The store's file system must outlive them.
  absl::StatusOr<std::unique_ptr<RowSource>> OpenRows(std::string_view id) const;

 private:
  DatasetStore(FileSystem& files, std::string root, uint64_t max_dataset_bytes)
      : files_(&files), root_(std::move(root)), max_dataset_bytes_(max_dataset_bytes) {}

  FileSystem* files_;
  std::string root_;
  uint64_t max_dataset_bytes_;
};

}  // namespace densityd::training
