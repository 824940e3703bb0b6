// Columns from which no density can be learnt.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "density/v1/model_registry.pb.h"

namespace densityd::training {

/// Range and moments of each column of `values` (rows, cols), row-major and not empty. Missing numbers (NaN) do not
/// count. Goes through the rows twice, whatever the number of columns: they need not fit into memory.
std::vector<density::v1::Column> Summarize(absl::Span<const double> values, size_t cols);

/// INVALID_ARGUMENT for `feature_columns` or `context_columns` with the first column that takes one value only.
/// `columns` summarise `features` modelled columns, then context. Modelled column i is not looked at where
/// dequantised[i]: noise is added to it, and its density is bounded.
absl::Status CheckNotConstant(absl::Span<const density::v1::Column> columns, size_t features,
                              const std::vector<bool>& dequantised = {});

/// INVALID_ARGUMENT for `feature_columns` with the first modelled column that is, in every row, a linear function of
/// another modelled or context column up to 1e-6 of its standard deviation: rows then lie on a plane, where no density
/// exists; not so with noise on both of them, or on one whose copy is context. `values` is (rows, columns.size()),
/// row-major. Precondition: CheckNotConstant is OK.
absl::Status CheckNotDuplicated(absl::Span<const double> values, absl::Span<const density::v1::Column> columns,
                                size_t features, const std::vector<bool>& dequantised = {});

}  // namespace densityd::training
