// The rows of a training: where they come from, whether they can be learnt from, and which are held out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/model_registry.pb.h"
#include "server/base/file_system.h"
#include "server/base/table.h"
#include "server/training/columns.h"
#include "server/training/options.h"
#include "server/training/training_record.pb.h"

namespace densityd::training {

/// Rows as they were found.
struct SourceData {
  Table table;
  std::string field;        ///< of the request that named them: "rows", "dataset" or "file"
  std::string description;  ///< for provenance: "inline", "dataset:<id>" or "file:<path>"
};

/// Reads the data of `job`, whose folder is <root>/trainings/<id>. INVALID_ARGUMENT, NOT_FOUND, DATA_LOSS,
/// RESOURCE_EXHAUSTED.
absl::StatusOr<SourceData> LoadSource(FileSystem& files, const TrainingJob& job, const std::string& folder);

/// Selected columns of rows: row-major (rows, D + C), the features first.
struct SelectedRows {
  size_t rows = 0;
  std::vector<double> values;
};

/// Checked data, split.
struct TrainingData {
  size_t features = 0;          ///< D
  size_t context_features = 0;  ///< C
  SelectedRows train;
  SelectedRows validation;
  density::v1::FeatureSchema schema;  ///< names, and range and moments of the train split
  std::string sha256;                 ///< of all selected rows in the source's order, float64 little-endian
};

/// Checks the data and splits them by the seed. INVALID_ARGUMENT: too few rows, a non-finite number (with row and
/// column), a column that is constant in the train split, or that is a linear function of another one so that the
/// density would be unbounded; each with the column's name and what to do. Context column i may hold NaN, a missing
/// number, where missing_context[i]. Modelled column i may be constant or a copy where dequantised[i]. Precondition:
/// CheckOptions is OK.
absl::StatusOr<TrainingData> PrepareData(const SourceData& source, const ColumnSelection& columns,
                                         const density::v1::TrainingOptions& options,
                                         const std::vector<bool>& missing_context = {},
                                         const std::vector<bool>& dequantised = {});

}  // namespace densityd::training
