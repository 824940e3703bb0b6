// Fits preprocessing to data, and chooses it where it is AUTOMATIC.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"
#include "server/flow/preprocessing_check.h"

namespace densityd::flow {

/// Columns of row-major rows (rows, width): `count` of them, from `begin` on.
struct ColumnRows {
  absl::Span<const double> values;
  size_t width = 0;
  size_t begin = 0;
  size_t count = 0;

  size_t rows() const { return width == 0 ? 0 : values.size() / width; }
  double operator()(size_t row, size_t column) const { return values[row * width + begin + column]; }
};

/// Fills in what is empty in `preprocessing` from `train`; each AUTOMATIC choice gets its reason. A choice whose
/// support ends somewhere is made only if no row of `held_out` lies outside. Integers and categories are fitted with
/// noise of U[0, 1) that is the same in every run. INVALID_ARGUMENT with the path below `field`: a column that cannot
/// be scaled (constant; no spread in its middle half), numbers outside of a support that was asked for, too many
/// categories. Precondition: CheckPreprocessing is OK, and all numbers are finite (NaN where the column accepts missing
/// ones).
absl::Status FitPreprocessing(const ColumnRows& train, const ColumnRows& held_out, ColumnRole role,
                              const std::string& field, density::v1::Preprocessing& preprocessing);

/// INVALID_ARGUMENT with the path below `field` of the first column of `rows` with a number outside its support, which
/// is told: its density is zero, and nothing can be learnt from it. Of the context: with a number that cannot be
/// encoded. Precondition: `preprocessing` is fitted.
absl::Status CheckWithinSupport(const ColumnRows& rows, ColumnRole role, const std::string& field,
                                const density::v1::Preprocessing& preprocessing);

}  // namespace densityd::flow
