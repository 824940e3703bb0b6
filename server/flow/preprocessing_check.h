// Checks of a Preprocessing, and its names and defaults.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// What the columns are.
enum class ColumnRole {
  kFeatures,  ///< modelled: a layer
  kContext,   ///< context_encoding
};

/// INVALID_ARGUMENT with the path of the first wrong field below `field`, for `columns` columns.
absl::Status CheckPreprocessing(const density::v1::Preprocessing& preprocessing, int64_t columns, ColumnRole role,
                                const std::string& field);

/// INVALID_ARGUMENT with the path of the first number that a training would have filled in. Precondition:
/// CheckPreprocessing is OK.
absl::Status CheckFittedPreprocessing(const density::v1::Preprocessing& preprocessing, ColumnRole role,
                                      const std::string& field);

/// Puts named entries at the places of their columns; the others become AUTOMATIC. INVALID_ARGUMENT with the path of a
/// name that `names` does not have, or that is given twice, and where only some entries have one.
absl::Status PlaceNamedColumns(absl::Span<const std::string> names, const std::string& field,
                               density::v1::Preprocessing& preprocessing);

}  // namespace densityd::flow
