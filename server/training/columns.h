// Which columns of the data are modelled, and which the density is conditioned on.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "density/v1/training.pb.h"

namespace densityd::training {

/// Names of `count` columns without names: "0", "1", …
std::vector<std::string> DefaultColumnNames(size_t count);

/// Unique names of 1 … 256 bytes. INVALID_ARGUMENT for "<field>[i]".
absl::Status CheckColumnNames(std::string_view field, const std::vector<std::string>& names);

/// Columns of the data by index, in the order of the model's D features and C context columns.
struct ColumnSelection {
  std::vector<std::string> names;  ///< of all columns of the data
  std::vector<size_t> features;
  std::vector<size_t> context;
};

/// Selects the columns that `request` names, of data with `cols` columns that carry `names` (may be empty).
/// INVALID_ARGUMENT for `columns`, `feature_columns` or `context_columns`: unknown (the known ones are listed), named
/// twice or in both roles, none left to model.
absl::StatusOr<ColumnSelection> SelectColumns(const density::v1::TrainRequest& request, size_t cols,
                                              const std::vector<std::string>& names);

}  // namespace densityd::training
