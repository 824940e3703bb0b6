// Checks of the base distribution of a FlowSpec.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

/// INVALID_ARGUMENT with the path of the first wrong field below `field` ("spec.base"), for D = `features` columns and
/// C = `context_features`.
absl::Status CheckBase(const density::v1::BaseDistribution& base, int64_t features, int64_t context_features,
                       const std::string& field);

}  // namespace densityd::flow
