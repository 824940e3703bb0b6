// Checks of one layer of a FlowSpec.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"
#include "server/flow/row_shape.h"

namespace densityd::flow {

inline constexpr int kMaxHiddenLayers = 16;
inline constexpr uint32_t kMaxHiddenUnits = 8192;
inline constexpr uint32_t kMaxResidualBlocks = 64;

/// INVALID_ARGUMENT with the path of the first wrong field below `field` ("spec.layers[3]"), for rows of `shape`.
absl::Status CheckLayer(const density::v1::Layer& layer, const RowShape& shape, const std::string& field);

/// The same for a Standardize of `columns` columns.
absl::Status CheckStandardize(const density::v1::Standardize& standardize, int64_t columns, const std::string& field);

/// The same for a conditioner of plain columns.
absl::Status CheckConditioner(const density::v1::Conditioner& conditioner, const std::string& field);

}  // namespace densityd::flow
