// The rows of a training: where they come from, whether they can be learnt from, and which are held out.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/file_system.h"
#include "server/training/columns.h"
#include "server/training/options.h"
#include "server/training/row_source.h"
#include "server/training/selected_rows.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// Rows where they were found.
struct SourceData {
  std::unique_ptr<RowSource> rows;
  std::string field;        ///< of the request that named them: "rows", "dataset" or "file"
  std::string description;  ///< for provenance: "inline", "dataset:<id>" or "file:<path>"
};

/// Opens the data of `job`, whose folder is <root>/trainings/<id>. INVALID_ARGUMENT, NOT_FOUND, DATA_LOSS,
/// RESOURCE_EXHAUSTED.
absl::StatusOr<SourceData> OpenSource(FileSystem& files, const TrainingJob& job, const std::string& folder);

/// Checked data, split.
struct TrainingData {
  size_t features = 0;          ///< D
  size_t context_features = 0;  ///< C
  SelectedRows train;
  SelectedRows validation;
  density::v1::FeatureSchema schema;  ///< names, and range and moments of the train split
  std::string sha256;                 ///< of all selected rows in the source's order, float64 little-endian
  ScratchSpace scratch;               ///< where train and validation are kept
};

/// Checks the data and splits them by the seed into copies in `scratch`, in the source's order: memory does not grow
/// with the rows. RESOURCE_EXHAUSTED where the disk is full. INVALID_ARGUMENT: too few rows, a non-finite number (with
/// row and column), a column that is constant in the train split, or that is a linear function of another one so that
/// the density would be unbounded; each with the column's name and what to do. Context column i may hold NaN, a missing
/// number, where missing_context[i]. Modelled column i may be constant or a copy where dequantised[i]. Precondition:
/// CheckOptions is OK.
absl::StatusOr<TrainingData> PrepareData(const SourceData& source, const ColumnSelection& columns,
                                         const density::v1::TrainingOptions& options, const ScratchSpace& scratch,
                                         const std::vector<bool>& missing_context = {},
                                         const std::vector<bool>& dequantised = {});

/// Looks whether the data of a training are still what it began with. Not thread-safe.
class DataWatch {
 public:
  /// Of `source`, whose selected columns have the digest `sha256` since `since`. It must outlive this.
  DataWatch(const SourceData& source, const ColumnSelection& columns, std::string sha256, FileStamp since);

  /// FAILED_PRECONDITION where the rows have changed. Reads them where their file has been touched.
  absl::Status Check();

 private:
  const SourceData& source_;
  const std::vector<size_t> order_;
  const std::string sha256_;
  FileStamp stamp_;
};

}  // namespace densityd::training
