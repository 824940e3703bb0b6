// Checks of a Univariate of a FlowSpec.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "density/v1/flow_spec.pb.h"

namespace densityd::flow {

inline constexpr uint32_t kMinSplineBins = 2;
inline constexpr uint32_t kMaxSplineBins = 64;
inline constexpr double kMinSplineBound = 1e-3;
inline constexpr double kMaxSplineBound = 1e3;
inline constexpr uint32_t kMinMixtureComponents = 2;
inline constexpr uint32_t kMaxMixtureComponents = 64;

/// INVALID_ARGUMENT with the path of the first wrong field below `field` ("spec.layers[3].coupling.univariate"), for a
/// layer of D = `features` columns.
absl::Status CheckUnivariate(const density::v1::Univariate& univariate, int64_t features, const std::string& field);

}  // namespace densityd::flow
