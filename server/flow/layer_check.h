// Checks of one layer of a FlowSpec.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

inline constexpr int kMaxHiddenLayers = 16;
inline constexpr uint32_t kMaxHiddenUnits = 8192;
inline constexpr uint32_t kMaxResidualBlocks = 64;

/// INVALID_ARGUMENT with the path of the first wrong field below `field` ("spec.layers[3]"), for D = `features`.
absl::Status CheckLayer(const density::v1::Layer& layer, int64_t features, const std::string& field);

/// The same for a Standardize of `columns` columns.
absl::Status CheckStandardize(const density::v1::Standardize& standardize, int64_t columns, const std::string& field);

/// The same for a conditioner.
absl::Status CheckConditioner(const density::v1::Conditioner& conditioner, const std::string& field);

}  // namespace densityd::flow
